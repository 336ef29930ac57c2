#include "ops/loss/elementwise_loss.h"

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

using Loss = Tensor (*)(const Tensor&, const Tensor&, Reduction);

std::vector<Sample> loss_samples(std::string_view op, Loss f, Tensor (*prediction)(), Tensor (*target)()) {
  const auto call = [f](Reduction r) { return [f, r](Inputs x) { return f(x[0], x[1], r); }; };
  std::vector<Sample> samples{{"none", {prediction(), target()}, call(Reduction::none)},
                              {"mean", {prediction(), target()}, call(Reduction::mean)},
                              {"sum", {prediction(), target()}, call(Reduction::sum)},
                              {"broadcast", {prediction(), slice(target(), 0, 0, 1)}, call(Reduction::none)},
                              {"empty", {sample_input({0, 3}), sample_input({0, 3})}, call(Reduction::sum)}};
  samples.push_back(invalid(
      "shapes", {sample_input({2, 3}), sample_input({4})}, call(Reduction::mean),
      std::string(op) + ": shapes [2,3] and [4] do not broadcast: sizes 3 and 4 differ and neither is 1"));
  return samples;
}

// Kept apart, so that their difference stays away from 0 and from 1.
Tensor far_prediction() {
  return tensor({{-2.5, 0.2, 3}, {2.4, -0.3, 0.7}}, DType::f64) + sample_input({2, 3}, -0.1, 0.1);
}
Tensor near_zero() { return sample_input({2, 3}, -0.1, 0.1); }
Tensor any() { return sample_input({2, 3}); }
Tensor probability() { return sample_input({2, 3}, 0.1, 0.9); }

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

std::vector<Sample> SquaredError::samples() { return loss_samples(name, mse_loss, any, any); }
std::vector<Sample> AbsoluteError::samples() {
  auto v = loss_samples(name, l1_loss, far_prediction, near_zero);
  v.push_back(at_kinks(
      "equal", {tensor({1, 2}, DType::f64), tensor({1, 3}, DType::f64)},
      [](Inputs x) { return l1_loss(x[0], x[1]); }, tensor({0, -0.5}, DType::f64)));
  return v;
}
std::vector<Sample> Huber::samples() {
  const Loss half = [](const Tensor& x, const Tensor& t, Reduction r) { return huber_loss(x, t, 1.5, r); };
  auto v = loss_samples(name, half, far_prediction, near_zero);
  v.push_back(invalid(
      "delta", {any(), any()}, [](Inputs x) { return huber_loss(x[0], x[1], 0); },
      "huber_loss: expected delta > 0; got 0"));
  return v;
}
std::vector<Sample> BceWithLogits::samples() {
  auto v = loss_samples(name, binary_cross_entropy_with_logits, any, probability);
  v.push_back({"large logits",
               {tensor({-500, 500}, DType::f64), tensor({1, 0}, DType::f64)},
               [](Inputs x) { return binary_cross_entropy_with_logits(x[0], x[1]); },
               {},
               false});
  return v;
}
std::vector<Sample> KlDiv::samples() {
  auto v = loss_samples(name, kl_div, any, probability);
  v.push_back({"target 0",
               {tensor({-1, -2}, DType::f64), tensor({0, 1}, DType::f64)},
               [](Inputs x) { return kl_div(x[0], x[1]); },
               {},
               false});
  return v;
}

}  // namespace bobbin
