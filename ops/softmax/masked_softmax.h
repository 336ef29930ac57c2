// Softmax of rows under a boolean mask. Kernels read the mask together with the row, so no masked copy of the
// input is made. A masked element has probability 0, so the derivative is that of softmax and needs no mask.
#pragma once
#include <bobbin/op.h>
#include <bobbin/softmax.h>

#include "ops/check.h"

namespace bobbin {

/// Inputs: x [..., s] and an optional bool mask that broadcasts to it, true for the elements that count.
struct MaskedSoftmax {
  bool causal;
  bool empty_is_zero = false;  ///< a row of -inf alone, masked or not, is 0, as attention wants it; else NaN
  static constexpr std::string_view name = "masked_softmax";
  static constexpr Saves saves = Saves::output;
  static constexpr Strided strided{.cpu = Strided::input(1), .cuda = Strided::all.cuda};
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp& v) const {
    Grads grads(static_cast<std::size_t>(v.count()));  // none for the mask
    grads[0] = softmax_backward(v.output(), v.grad, -1);
    return grads;
  }
  static std::vector<Sample> samples();
};

/// Where the mask of each row of x [..., s] begins. Undefined without a mask.
struct RowMasks {
  Tensor first;        ///< element 0 of each row's mask: [..., 1]
  bool along = false;  ///< whether the row's mask is contiguous; if not, element 0 counts for the whole row
  RowMasks(Inputs x);
};

}  // namespace bobbin
