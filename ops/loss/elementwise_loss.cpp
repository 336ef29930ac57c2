// The public losses that compare prediction and target element by element.
#include "ops/loss/elementwise_loss.h"

#include <bobbin/loss.h>
#include <bobbin/reduce.h>

#include "ops/promote.h"

namespace bobbin {
namespace {

Tensor reduced(const Tensor& loss, Reduction reduction) {
  switch (reduction) {
    case Reduction::none:
      return loss;
    case Reduction::mean:
      return mean(loss);
    case Reduction::sum:
      break;
  }
  return sum(loss);
}

// Losses of 16-bit types that are reduced stay f32 until then: 300^2 is no f16, but the mean may be one.
template<class Op>
Tensor loss(Op op, const Tensor& input, const Tensor& target, Reduction reduction) {
  const Tensor x = in_f32(input), t = in_f32(target);
  if (reduction == Reduction::none) return record(op, {x, t});
  require_same_dtype(Op::name, x, t);
  return to(reduced(record(op, {wide(x), wide(t)}), reduction), x.dtype());
}

}  // namespace

Tensor mse_loss(const Tensor& x, const Tensor& t, Reduction r) { return loss(SquaredError{}, x, t, r); }
Tensor l1_loss(const Tensor& x, const Tensor& t, Reduction r) { return loss(AbsoluteError{}, x, t, r); }
Tensor huber_loss(const Tensor& x, const Tensor& t, double delta, Reduction r) {
  return loss(Huber{{{delta}}}, x, t, r);
}
Tensor binary_cross_entropy_with_logits(const Tensor& x, const Tensor& t, Reduction r) {
  return loss(BceWithLogits{}, x, t, r);
}
Tensor kl_div(const Tensor& x, const Tensor& t, Reduction r) { return loss(KlDiv{}, x, t, r); }

}  // namespace bobbin
