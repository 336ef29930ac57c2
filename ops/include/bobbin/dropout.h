// Inverted dropout (Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
// JMLR 2014): elements that are kept are scaled by 1 / (1 - p).
#pragma once
#include <bobbin/tensor.h>

namespace bobbin {

/// Each element is 0 with probability p, else x / (1 - p). The mask is drawn from the default generator. The
/// backward pass draws the same mask again, so the tape keeps no tensor. With training = false, returns x
/// itself. Floating dtypes. Throws DTypeError, and ValueError unless 0 <= p <= 1; p = 1 gives zeros.
Tensor dropout(const Tensor&, double p = 0.5, bool training = true);

}  // namespace bobbin
