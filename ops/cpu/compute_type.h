// Runs CPU kernels in the type they compute in.
#pragma once
#include <bobbin/tensor.h>

#include "core/strided_copy.h"
#include "ops/check.h"

namespace bobbin {

/// Calls f(y), or f(t) with a tensor t like y of its compute type, which is then rounded into y.
template<class F>
void in_compute_type(const Tensor& y, F&& f) {
  const DType compute = compute_type(y.dtype());
  if (compute == y.dtype()) return f(y);
  const Tensor wide = empty(y.shape(), compute, y.device());
  f(wide);
  copy_elements(wide, y);
}

}  // namespace bobbin
