// Inputs and calls that the samples of many operations share.
#include "ops/samples.h"

#include <bobbin/elementwise.h>

#include <limits>

namespace bobbin {
namespace {

std::vector<Sample> unary(std::string_view op, Tensor (*f)(const Tensor&), const auto& draw,
                          bool floating_only) {
  const auto call = [f](Inputs x) { return f(x[0]); };
  constexpr double inf = std::numeric_limits<double>::infinity(),
                   nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<Sample> samples{
      batch({"3x4", {draw({3, 4})}, call}),
      {"scalar", {draw({})}, call},
      {"empty", {draw({0, 3})}, call},
      {"special values",
       {tensor({0.0, -0.0, inf, -inf, nan, 1e-30, -1e-30, 1e30, -1e30}, DType::f64)},
       call,
       {},
       false},
      {"more than a block", {draw({7, 300})}, call, {}, false},
  };
  if (floating_only)
    samples.push_back(invalid("integers", {tensor({1, 2}, DType::i64)}, call,
                              std::string(op) + ": expected a floating-point tensor; got i64[2]"));
  else
    samples.push_back(
        invalid("bool", {tensor({1, 0}, DType::boolean)}, call,
                std::string(op) + ": expected numbers; got bool[2]; convert it with to(x, DType)"));
  return samples;
}

}  // namespace

Tensor sample_input_off_zero(const Shape& shape, double gap, double high) {
  const Tensor magnitude = uniform(shape, gap, high, DType::f64), side = bernoulli(shape, 0.5, DType::f64);
  return magnitude * (side * 2 - 1);
}

std::vector<Sample> unary_samples(std::string_view op, Tensor (*f)(const Tensor&), double low, double high,
                                  bool floating_only) {
  return unary(
      op, f, [=](const Shape& s) { return sample_input(s, low, high); }, floating_only);
}

std::vector<Sample> unary_samples_off_zero(std::string_view op, Tensor (*f)(const Tensor&),
                                           bool floating_only) {
  return unary(
      op, f, [](const Shape& s) { return sample_input_off_zero(s); }, floating_only);
}

Sample kink_at_zero(Tensor (*f)(const Tensor&), double at_0, double at_1, double at_minus_1) {
  return at_kinks(
      "kink at 0", {tensor({0, 1, -1}, DType::f64)}, [f](Inputs x) { return f(x[0]); },
      tensor({at_0, at_1, at_minus_1}, DType::f64));
}

std::vector<Sample> binary_samples(std::string_view op, Tensor (*f)(const Tensor&, const Tensor&), double low,
                                   double high) {
  const auto call = [f](Inputs x) { return f(x[0], x[1]); };
  auto draw = [=](const Shape& s) { return sample_input(s, low, high); };
  const std::string name(op);
  return {
      {"same shape", {draw({3, 4}), draw({3, 4})}, call},
      {"row broadcast", {draw({3, 4}), draw({4})}, call},
      {"both broadcast", {draw({2, 1, 3}), draw({4, 1})}, call},
      {"scalar", {draw({}), draw({2, 2})}, call},
      {"empty", {draw({0, 3}), draw({3})}, call},
      {"more than a block", {draw({5, 1, 70}), draw({9, 1})}, call, {}, false},
      invalid("shapes", {draw({2, 3}), draw({4})}, call,
              name + ": shapes [2,3] and [4] do not broadcast: sizes 3 and 4 differ and neither is 1"),
      invalid("dtypes", {draw({2}), tensor({1, 2}, DType::f32)}, call,
              name + ": dtypes must agree; got f64[2] and f32[2]; convert one with to(x, DType)"),
  };
}

std::vector<Sample> ternary_samples(std::string_view op, Tensor (*f)(Inputs), double low, double high) {
  const auto draw = [=](const Shape& s) { return sample_input(s, low, high); };
  return {
      {"same shape", {sample_input({3, 4}), draw({3, 4}), draw({3, 4})}, f},
      {"broadcast", {sample_input({2, 3}), draw({2, 1}), draw({3})}, f},
      {"scalar", {sample_input({}), draw({}), draw({})}, f},
      {"empty", {sample_input({0, 3}), draw({3}), draw({0, 3})}, f},
      {"more than a block", {sample_input({5, 9, 70}), draw({5, 1, 70}), draw({9, 1})}, f, {}, false},
      invalid("dtypes", {draw({2}), tensor({1, 2}, DType::f32), draw({2})}, f,
              std::string(op) + ": dtypes must agree; got f64[2] and f32[2]; convert one with to(x, DType)")};
}

std::vector<Sample> extreme_samples(std::string_view op, Tensor (*f)(const Tensor&, const Tensor&),
                                    const Tensor& at_ties) {
  auto samples = binary_samples(op, f);
  // First operands are near integers, second operands near integers plus 1/2, so they differ.
  for (auto& s : samples) {
    if (!s.throws.empty()) continue;
    for (std::size_t i = 0; i < s.inputs.size(); ++i) {
      const Shape shape = s.inputs[i].shape();
      s.inputs[i] = to(randint(-2, 3, shape), DType::f64) + sample_input(shape, -0.15, 0.15) +
                    0.5 * static_cast<double>(i);
    }
  }
  samples.push_back(at_kinks(
      "ties", {tensor({1, 2, 3}, DType::f64), tensor({1, 5, 3}, DType::f64)},
      [f](Inputs x) { return f(x[0], x[1]); }, at_ties));
  return samples;
}

}  // namespace bobbin
