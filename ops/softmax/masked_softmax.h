// Softmax of what a mask leaves of rows: the mask is looked at as a row is read, so no masked copy of the
// input is ever made. What it hides has probability 0, so the backward pass is softmax's, and needs no mask.
#pragma once
#include <bobbin/ops.h>

#include "ops/softmax/softmax.h"

namespace bobbin {

/// Inputs x [..., s] and, where given, a bool mask that broadcasts to it.
struct MaskedSoftmax {
  bool causal;
  static constexpr std::string_view name = "masked_softmax";
  static constexpr Saves saves = Saves::output;
  static constexpr bool strided = true;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp& v) const { return {softmax_backward(v.output(), v.grad, -1), Tensor()}; }
  static std::vector<Sample> samples();
};

/// The mask of each row: element 0 of it for x of shape [..., s], and whether the next ones are those behind
/// it (else they are this one again). Undefined without a mask.
struct RowMasks {
  Tensor first;  ///< [..., 1]
  bool along = false;
  RowMasks(Inputs x);
};

}  // namespace bobbin
