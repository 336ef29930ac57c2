// cumsum: running sums along an axis.
#pragma once
#include <bobbin/op.h>
#include <bobbin/reduce.h>

namespace bobbin {

/// Sums along an axis up to each element, or from it on with `reverse`. Floating sums are f64 and are rounded
/// when they are written; integers sum to i64.
struct CumSum {
  int axis;
  bool reverse = false;
  static constexpr std::string_view name = "cumsum";
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp& v) const { return {cumsum(v.grad, axis, !reverse)}; }
  static std::vector<Sample> samples();
};

}  // namespace bobbin
