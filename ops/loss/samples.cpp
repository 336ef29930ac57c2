// Samples of the losses.
#include "ops/samples.h"

#include <bobbin/elementwise.h>
#include <bobbin/loss.h>
#include <bobbin/softmax.h>
#include <bobbin/view.h>

#include "ops/loss/cross_entropy.h"
#include "ops/loss/elementwise_loss.h"

namespace bobbin {
namespace {

using IndexLoss = Tensor (*)(const Tensor&, const Tensor&, const CrossEntropyOptions&);

// The options, with the weight in the dtype and on the device of x.
CrossEntropyOptions beside(const Tensor& x, CrossEntropyOptions o) {
  if (o.weight) o.weight = to(to(o.weight, x.dtype()), x.device());
  return o;
}

std::vector<Sample> index_samples(IndexLoss f) {
  const Tensor targets = tensor({2, 0, 1, 2}, DType::i64), some = tensor({2, -100, 1, 2}, DType::i64);
  const Tensor weight = sample_input({3}, 0.5, 2);
  const auto with = [f](const CrossEntropyOptions& o) {
    return [f, o](Inputs x) { return f(x[0], x[1], beside(x[0], o)); };
  };
  const auto logits = [] { return sample_input({4, 3}); };
  return {
      {"mean", {logits(), targets}, with({})},
      {"sum", {logits(), targets}, with({.reduction = Reduction::sum})},
      {"none", {logits(), targets}, with({.reduction = Reduction::none})},
      {"ignored rows", {logits(), some}, with({})},
      {"weights and ignored rows", {logits(), some}, with({.weight = weight})},
      {"weights, none", {logits(), some}, with({.weight = weight, .reduction = Reduction::none})},
      {"one row", {sample_input({3}), tensor(1, DType::i64)}, with({})},
      {"images", {sample_input({2, 3, 2}), tensor({{0, 1}, {2, 2}}, DType::i64)}, with({})},
      {"all ignored", {sample_input({1, 3}), tensor({-100}, DType::i64)}, with({}), {}, false},
      {"no rows, sum", {sample_input({0, 3}), zeros({0}, DType::i64)}, with({.reduction = Reduction::sum})}};
}

}  // namespace

std::vector<Sample> CrossEntropy::samples() {
  auto v = index_samples(cross_entropy);
  const auto with = [](const CrossEntropyOptions& o) {
    return [o](Inputs x) { return cross_entropy(x[0], x[1], beside(x[0], o)); };
  };
  const Tensor some = tensor({2, -100, 1, 2}, DType::i64), weight = sample_input({3}, 0.5, 2);
  const auto logits = [] { return sample_input({4, 3}); };
  const auto probabilities = [] { return softmax(sample_input({4, 3}), 1); };
  v.push_back({"smoothing and weights", {logits(), some}, with({.weight = weight, .label_smoothing = 0.2})});
  v.push_back({"probabilities", {logits(), probabilities()}, with({})});
  v.push_back({"probabilities, weights and smoothing, none",
               {logits(), probabilities()},
               with({.weight = weight, .label_smoothing = 0.1, .reduction = Reduction::none})});
  v.push_back({"probabilities, one row, sum",
               {sample_input({3}), softmax(sample_input({3}))},
               with({.reduction = Reduction::sum})});
  v.push_back(
      {"large logits", {sample_input({2, 3}, -1e4, 1e4), tensor({0, 1}, DType::i64)}, with({}), {}, false});
  v.push_back(invalid("class", {logits(), tensor({0, 1, 3, 2}, DType::i64)}, with({}),
                      "cross_entropy: class 3 at flat position 2 is outside [0,3)"));
  v.push_back(invalid("target shape", {logits(), zeros({3}, DType::i64)}, with({}),
                      "cross_entropy: class indices for f64[4,3] must be i64[4]; got i64[3]"));
  v.push_back(invalid(
      "target dtype", {logits(), zeros({4}, DType::i32)}, with({}),
      "cross_entropy: targets for f64[4,3] are class indices i64[4] or probabilities f64[4,3]; got i32[4]"));
  v.push_back(invalid("smoothing", {logits(), some}, with({.label_smoothing = 1.5}),
                      "cross_entropy: label_smoothing must lie in [0,1]; got 1.5"));
  v.push_back(invalid("weight", {logits(), some}, with({.weight = ones({4}, DType::f64)}),
                      "cross_entropy: expected a weight f64[3]; got f64[4]"));
  return v;
}

std::vector<Sample> CrossEntropyBackward::samples() {
  const CrossEntropyTerms mean{1, -100, 0.1, Reduction::mean}, none{1, 0, 0, Reduction::none};
  const auto with = [](CrossEntropyTerms t) {
    return [t](Inputs x) { return record(CrossEntropyBackward{t}, {x[0], x[1], {}, x[2]}); };
  };
  return {
      {"mean, smoothing",
       {sample_input({3, 3}), tensor({2, -100, 1}, DType::i64), sample_input({})},
       with(mean)},
      {"none, ignored", {sample_input({3, 3}), tensor({2, 0, 1}, DType::i64), sample_input({3})}, with(none)},
      {"probabilities", {sample_input({2, 3}), softmax(sample_input({2, 3})), sample_input({})}, with(mean)},
      invalid("class", {sample_input({1, 3}), tensor({7}, DType::i64), sample_input({})}, with(mean),
              "cross_entropy_backward: class 7 at flat position 0 is outside [0,3)")};
}

std::vector<Sample> nll_loss_samples() {
  auto v = index_samples(nll_loss);
  v.push_back(invalid(
      "smoothing", {sample_input({1, 3}), tensor({1}, DType::i64)},
      [](Inputs x) { return nll_loss(x[0], x[1], {.label_smoothing = 0.1}); },
      "nll_loss: takes no label smoothing; use cross_entropy"));
  v.push_back(invalid(
      "class", {sample_input({1, 3}), tensor({3}, DType::i64)}, [](Inputs x) { return nll_loss(x[0], x[1]); },
      "nll_loss: index_select: index 3 at flat position 0 is outside [0,3)"));
  return v;
}

namespace {

using ElementwiseLoss = Tensor (*)(const Tensor&, const Tensor&, Reduction);

std::vector<Sample> loss_samples(std::string_view op, ElementwiseLoss f, Tensor (*prediction)(),
                                 Tensor (*target)()) {
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

// Predictions and targets whose differences are not near 0 or 1, where the losses have kinks.
Tensor far_prediction() {
  return tensor({{-2.5, 0.2, 3}, {2.4, -0.3, 0.7}}, DType::f64) + sample_input({2, 3}, -0.1, 0.1);
}
Tensor near_zero() { return sample_input({2, 3}, -0.1, 0.1); }
Tensor any() { return sample_input({2, 3}); }
Tensor probability() { return sample_input({2, 3}, 0.1, 0.9); }

}  // namespace

std::vector<Sample> SquaredError::samples() { return loss_samples(name, mse_loss, any, any); }
std::vector<Sample> AbsoluteError::samples() {
  auto v = loss_samples(name, l1_loss, far_prediction, near_zero);
  v.push_back(at_kinks(
      "equal", {tensor({1, 2}, DType::f64), tensor({1, 3}, DType::f64)},
      [](Inputs x) { return l1_loss(x[0], x[1]); }, tensor({0, -0.5}, DType::f64)));
  return v;
}
std::vector<Sample> Huber::samples() {
  const ElementwiseLoss half = [](const Tensor& x, const Tensor& t, Reduction r) {
    return huber_loss(x, t, 1.5, r);
  };
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
