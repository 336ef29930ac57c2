// in_compute_type: runs a CPU kernel on a tensor of the compute type (f32 for 16-bit types).
#pragma once
#include <bobbin/tensor.h>

#include "core/strided_copy.h"
#include "ops/check.h"

namespace bobbin {

/// Calls f(y) if y has its compute type. Otherwise calls f(t) with a new tensor t of the compute type, and
/// rounds t into y.
template<class F>
void in_compute_type(const Tensor& y, F&& f) {
  const DType compute = compute_type(y.dtype());
  if (compute == y.dtype()) return f(y);
  const Tensor wide = empty(y.shape(), compute, y.device());
  f(wide);
  copy_elements(wide, y);
}

}  // namespace bobbin
