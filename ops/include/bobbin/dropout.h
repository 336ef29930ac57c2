// Dropout (Srivastava et al., JMLR 2014), inverted: what is kept is scaled by 1 / (1 - p).
#pragma once
#include <bobbin/tensor.h>

namespace bobbin {

/// Each element is 0 with probability p, else x / (1 - p). The mask is drawn from the default generator and
/// drawn again in backward: the tape keeps no tensor. With training = false, x itself. Throws ValueError
/// unless 0 <= p <= 1; p = 1 gives zeros.
Tensor dropout(const Tensor&, double p = 0.5, bool training = true);

}  // namespace bobbin
