// pad: a tensor inside a larger one. The derivative of slice is the same operation, with steps.
#pragma once
#include <bobbin/op.h>

namespace bobbin {

/// A tensor of `shape` with x[i] at starts + i * steps, and `value` elsewhere.
struct Pad {
  Shape shape;  ///< of the result
  Dims starts, steps;
  double value = 0;
  static constexpr std::string_view name = "pad";
  static constexpr Strided strided = Strided::all;
  TensorSpec infer(Inputs x) const { return {shape, x[0].dtype(), x[0].device()}; }
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs x, Tensor& y) const { cpu(x, y); }  // copy_elements works on any device
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// Zeros of `shape` with x[i] at starts + i * steps, which must be inside. The adjoint of slice.
Tensor pad_strided(const Tensor& x, const Shape& shape, const Dims& starts, const Dims& steps);

}  // namespace bobbin
