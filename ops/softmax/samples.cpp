// Samples of softmax, log-softmax, their derivatives and the masked softmax.
#include "ops/samples.h"

#include <bobbin/elementwise.h>
#include <bobbin/index.h>
#include <bobbin/view.h>

#include <limits>

#include "ops/softmax/masked_softmax.h"
#include "ops/softmax/softmax.h"

namespace bobbin {
namespace {

std::vector<Sample> forward_samples(std::string_view op, Tensor (*f)(const Tensor&, int)) {
  const auto along = [f](int axis) { return [f, axis](Inputs x) { return f(x[0], axis); }; };
  constexpr double inf = std::numeric_limits<double>::infinity(),
                   nan = std::numeric_limits<double>::quiet_NaN();
  return {batch({"last axis", {sample_input({2, 5})}, along(-1)}),
          {"first axis", {sample_input({4, 3})}, along(0)},
          {"middle axis", {sample_input({2, 3, 2})}, along(1)},
          {"one dimension", {sample_input({6})}, along(0)},
          {"one class", {sample_input({3, 1})}, along(1)},
          {"scalar", {sample_input({})}, along(0)},
          {"large logits", {sample_input({2, 4}, -300, 300)}, along(1), {}, false},
          {"masked", {tensor({{1, -inf, 2}, {-inf, -inf, 0}}, DType::f64)}, along(1), {}, false},
          {"all masked, +inf, NaN",
           {tensor({{-inf, -inf}, {inf, 0}, {nan, 0}}, DType::f64)},
           along(1),
           {},
           false},
          {"wide", {sample_input({3, 1500}, -20, 20)}, along(1), {}, false},
          {"many columns", {sample_input({5, 300}, -20, 20)}, along(0), {}, false},
          {"empty slices", {sample_input({3, 0})}, along(1)},
          {"no slices", {sample_input({0, 3})}, along(1)},
          invalid("axis", {sample_input({2, 3})}, along(2),
                  std::string(op) + ": axis 2 is out of range for 2 dimensions"),
          invalid("integers", {tensor({1, 2}, DType::i64)}, along(0),
                  std::string(op) + ": expected a floating-point tensor; got i64[2]")};
}

std::vector<Sample> backward_samples(std::string_view op, Tensor (*forward)(const Tensor&, int),
                                     Tensor (*f)(const Tensor&, const Tensor&, int)) {
  const auto along = [f](int axis) { return [f, axis](Inputs x) { return f(x[0], x[1], axis); }; };
  return {batch({"last axis", {forward(sample_input({2, 5}), 1), sample_input({2, 5})}, along(-1)}),
          {"first axis", {forward(sample_input({4, 2}), 0), sample_input({4, 2})}, along(0)},
          {"one class", {forward(sample_input({3, 1}), 1), sample_input({3, 1})}, along(1)},
          {"scalar", {forward(sample_input({}), 0), sample_input({})}, along(0)},
          {"wide", {forward(sample_input({3, 1500}), 1), sample_input({3, 1500})}, along(1), {}, false},
          {"empty", {sample_input({0, 3}), sample_input({0, 3})}, along(1)},
          invalid("shapes", {sample_input({2, 3}), sample_input({3, 2})}, along(1),
                  std::string(op) + ": shapes must agree; got f64[2,3] and f64[3,2]")};
}

}  // namespace

std::vector<Sample> Softmax::samples() { return forward_samples(name, softmax); }
std::vector<Sample> LogSoftmax::samples() { return forward_samples(name, log_softmax); }
std::vector<Sample> SoftmaxBackward::samples() { return backward_samples(name, softmax, softmax_backward); }
std::vector<Sample> LogSoftmaxBackward::samples() {
  return backward_samples(name, log_softmax, log_softmax_backward);
}

std::vector<Sample> MaskedSoftmax::samples() {
  const auto masked = [](Inputs x) { return masked_softmax(x[0], x.size() > 1 ? x[1] : Tensor()); };
  const auto causal = [](Inputs x) { return masked_softmax(x[0], x.size() > 1 ? x[1] : Tensor(), true); };
  constexpr double inf = std::numeric_limits<double>::infinity(),
                   nan = std::numeric_limits<double>::quiet_NaN();
  const auto mask = [](const Shape& shape) {  // column 0 is never masked
    return concat(
        {ones({shape[0], 1}, DType::boolean), to(bernoulli({shape[0], shape[1] - 1}, 0.6), DType::boolean)},
        1);
  };
  return {
      batch({"no mask", {sample_input({2, 5})}, masked}),
      {"a mask", {sample_input({3, 7}), mask({3, 7})}, masked},
      {"of places, for all rows", {sample_input({2, 3, 6}), mask({1, 6})}, masked},
      {"of heads", {sample_input({2, 2, 3}), tensor({{{1}}, {{1}}}, DType::boolean)}, masked},
      {"transposed mask",
       {sample_input({3, 5}),
        concat({ones({1, 3}, DType::boolean), to(bernoulli({4, 3}, 0.6), DType::boolean)}, 0)},
       [](Inputs x) { return masked_softmax(x[0], transpose(x[1])); }},
      {"causal", {sample_input({2, 4, 4})}, causal},
      {"causal, wide and tall", {sample_input({3, 5})}, causal},
      {"causal and a mask", {sample_input({2, 6, 4}), mask({6, 4})}, causal},
      {"one row", {sample_input({6})}, masked},
      {"hidden infinities",
       {tensor({{1, inf, 2}, {nan, 0, 1}, {-inf, 3, 1}}, DType::f64),
        tensor({{1, 0, 1}, {0, 1, 1}, {0, 0, 0}}, DType::boolean)},
       masked,
       {},
       false},
      {"long", {sample_input({2, 3, 1501}, -20, 20), mask({3, 1501})}, causal, {}, false},
      {"empty", {sample_input({0, 3, 4})}, causal},
      invalid(
          "mask", {sample_input({2, 3}), mask({3, 3})}, masked,
          "masked_softmax: shapes [2,3] and [3,3] do not broadcast: sizes 2 and 3 differ and neither is 1"),
      invalid("floating mask", {sample_input({2, 3}), sample_input({2, 3})}, masked,
              "masked_softmax: expected a bool mask of what is left; got f64[2,3]; a floating one is added "
              "to x"),
      invalid("larger mask", {sample_input({3}), mask({2, 3})}, masked,
              "masked_softmax: expected a mask that broadcasts to [3]; got bool[2,3]"),
      invalid("causal row", {sample_input({3})}, causal, "masked_softmax: expected [..., l, s]; got f64[3]")};
}

}  // namespace bobbin
