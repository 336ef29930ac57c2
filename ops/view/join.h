// Putting tensors together, and placing one inside a larger one. Both copy whole strided blocks; each is the
// other's transpose through slice.
#pragma once
#include <bobbin/ops.h>

namespace bobbin {

/// The inputs one after the other along an axis.
struct Concat {
  int axis;
  std::vector<std::int64_t> sizes;  ///< of the axis, one an input: the derivative cuts the gradient there
  static constexpr std::string_view name = "concat";
  static constexpr Strided strided = Strided::all;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs x, Tensor& y) const { cpu(x, y); }  // copies know where they are
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// `value` everywhere but at starts + i * steps, where x[i] lies.
struct Pad {
  Shape shape;  ///< of the result
  Dims starts, steps;
  double value = 0;
  static constexpr std::string_view name = "pad";
  static constexpr Strided strided = Strided::all;
  TensorSpec infer(Inputs x) const { return {shape, x[0].dtype(), x[0].device()}; }
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs x, Tensor& y) const { cpu(x, y); }  // copies know where they are
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// Zeros of `shape` with x[i] at starts + i * steps, where it must fit: slice's transpose.
Tensor place(const Tensor& x, const Shape& shape, const Dims& starts, const Dims& steps);

}  // namespace bobbin
