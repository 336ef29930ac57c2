// The public losses that compare prediction and target element by element.
#include "ops/loss/elementwise_loss.h"

#include <bobbin/loss.h>
#include <bobbin/reduce.h>

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

}  // namespace

Tensor mse_loss(const Tensor& x, const Tensor& t, Reduction r) {
  return reduced(record(SquaredError{}, {x, t}), r);
}
Tensor l1_loss(const Tensor& x, const Tensor& t, Reduction r) {
  return reduced(record(AbsoluteError{}, {x, t}), r);
}
Tensor huber_loss(const Tensor& x, const Tensor& t, double delta, Reduction r) {
  return reduced(record(Huber{{{delta}}}, {x, t}), r);
}
Tensor binary_cross_entropy_with_logits(const Tensor& x, const Tensor& t, Reduction r) {
  return reduced(record(BceWithLogits{}, {x, t}), r);
}
Tensor kl_div(const Tensor& x, const Tensor& t, Reduction r) { return reduced(record(KlDiv{}, {x, t}), r); }

}  // namespace bobbin
