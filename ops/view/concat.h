// concat: tensors joined along an axis.
#pragma once
#include <bobbin/op.h>

namespace bobbin {

/// Joins the inputs along an axis.
struct Concat {
  int axis;
  std::vector<std::int64_t>
      sizes;  ///< of the axis, one per input: the derivative splits the gradient by them
  static constexpr std::string_view name = "concat";
  static constexpr Strided strided = Strided::all;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs x, Tensor& y) const { cpu(x, y); }  // copy_elements works on any device
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

}  // namespace bobbin
