// wide: a tensor in the type that kernels compute in, for derivatives that are made of several operations.
#pragma once
#include <bobbin/elementwise.h>

#include "ops/check.h"

namespace bobbin {

/// x in f32 if it is of a 16-bit type, else x itself.
inline Tensor wide(const Tensor& x) { return to(x, compute_type(x.dtype())); }

}  // namespace bobbin
