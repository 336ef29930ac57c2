// The calls that the tests and the gradient checker make of reductions and of cumsum.
#include "ops/samples.h"

#include <bobbin/elementwise.h>
#include <bobbin/index.h>
#include <bobbin/view.h>

#include <limits>

#include "ops/reduce/cumsum.h"
#include "ops/reduce/reduce.h"

namespace bobbin {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity(),
                 nan = std::numeric_limits<double>::quiet_NaN();

using Call = std::function<Tensor(const Tensor&, const Axes&, bool keepdim)>;
using Draw = std::function<Tensor(const Shape&)>;

Tensor draw(const Shape& shape) { return sample_input(shape); }

// A sample whose derivative is not compared with finite differences.
Sample value_only(std::string note, Tensor x, std::function<Tensor(Inputs)> call) {
  return {std::move(note), {std::move(x)}, std::move(call), {}, false};
}

// Distinct in every dtype, and farther apart than the step of finite differences.
Tensor distinct(const Shape& shape) {
  const std::int64_t n = numel(shape);
  return reshape((to(randperm(n), DType::f64) - static_cast<double>(n / 2)) * 0.25, shape);
}

// Random rows, each with one element that is the extreme in every dtype.
Tensor with_peaks(std::int64_t rows, std::int64_t columns, double height) {
  return draw({rows, columns}) + one_hot(randint(0, columns, {rows}), columns, DType::f64) * height;
}

// f over all kinds of axes. `one`: whether f has a derivative where one element is reduced.
std::vector<Sample> over_samples(std::string_view op, const Call& f, const Draw& draw, bool one = true) {
  const auto over = [&](const Axes& axes, bool keepdim = false) {
    return [f, axes, keepdim](Inputs x) { return f(x[0], axes, keepdim); };
  };
  const std::string name(op);
  return {
      {"all", {draw({2, 3, 3})}, over({})},
      {"all, kept", {draw({3, 4})}, over({}, true)},
      {"first", {draw({3, 4})}, over({0})},
      {"middle", {draw({2, 3, 2})}, over({1})},
      {"last, from the end", {draw({3, 4})}, over({-1})},
      {"last, kept", {draw({3, 4})}, over({1}, true)},
      {"two of three", {draw({2, 3, 3})}, over({0, -1})},
      {"two of three, kept", {draw({2, 2, 3})}, over({2, 1}, true)},
      {"five axes", {draw({1, 2, 2, 1, 3})}, over({1, 4})},
      {"size 1", {draw({1, 3, 1})}, over({0, 2}), {}, one},
      {"scalar", {draw({})}, over({}), {}, one},
      {"empty result", {draw({0, 3})}, over({1})},
      value_only("more than a block", draw({3, 1500}), over({1})),
      value_only("more than a block, first axis", draw({1100, 5}), over({0})),
      value_only("many results", draw({5, 2, 300}), over({1})),
      invalid("axis", {draw({2, 3})}, over({5}), name + ": axis 5 is out of range for 2 dimensions"),
      invalid("axis of a scalar", {draw({})}, over({-1}),
              name + ": axis -1 is out of range for 0 dimensions"),
      invalid("axis twice", {draw({2, 3})}, over({0, -2}), name + ": axes [0,-2] name an axis twice"),
  };
}

void add_floating_only(std::vector<Sample>& samples, std::string_view op, const Call& f) {
  samples.push_back(invalid(
      "integers", {tensor({1, 2}, DType::i64)}, [f](Inputs x) { return f(x[0], {}, false); },
      std::string(op) + ": expected a floating-point tensor; got i64[2]"));
}

// For reductions that have a result of no elements.
void add_of_nothing(std::vector<Sample>& samples, const Call& f) {
  samples.push_back(value_only("of nothing", draw({0, 3}), [f](Inputs x) { return f(x[0], {0}, false); }));
}

void add_special(std::vector<Sample>& samples, const Call& f) {
  const Tensor x = tensor({{1, 2, inf},
                           {-inf, 0, 3},
                           {inf, -inf, 1},
                           {1, nan, -inf},
                           {nan, inf, nan},
                           {-inf, -inf, -inf},
                           {0.0, -0.0, 0.0}},
                          DType::f64);
  samples.push_back(value_only("special values", x, [f](Inputs x) { return f(x[0], {1}, false); }));
}

// What the reductions of floating dtypes share.
std::vector<Sample> floating_samples(std::string_view op, const Call& f, const Draw& draw, bool one = true) {
  auto v = over_samples(op, f, draw, one);
  add_of_nothing(v, f);
  add_special(v, f);
  add_floating_only(v, op, f);
  return v;
}

// The gradient at ties: all of it goes to the first, or it is shared.
template<bool largest>
Tensor at_ties(bool shared) {
  if (shared)
    return largest ? tensor({{0, .5, .5, 0}, {.25, .25, .25, .25}, {.5, 0, .5, 0}}, DType::f64)
                   : tensor({{.5, 0, 0, .5}, {.25, .25, .25, .25}, {0, .5, 0, .5}}, DType::f64);
  return largest ? tensor({{0, 1, 0, 0}, {1, 0, 0, 0}, {1, 0, 0, 0}}, DType::f64)
                 : tensor({{1, 0, 0, 0}, {1, 0, 0, 0}, {0, 1, 0, 0}}, DType::f64);
}

template<bool largest>
std::vector<Sample> extreme_samples(std::string_view op, const Call& f, bool shared) {
  auto v = over_samples(op, f, distinct);
  const auto rows = [f](Inputs x) { return f(x[0], {1}, false); };
  v.push_back(at_kinks(
      "ties", {tensor({{1, 3, 3, 1}, {2, 2, 2, 2}, {0, -1, 0, -1}}, DType::f64)},
      [f](Inputs x) { return f(x[0], {1}, true); }, at_ties<largest>(shared)));
  v.push_back(value_only("long rows", with_peaks(4, 2100, largest ? 8 : -8), rows));
  add_special(v, f);
  v.push_back(value_only("i32", tensor({{4, -2}, {-7, 9}}, DType::i32), rows));
  v.push_back(value_only("bool", tensor({{0, 1}, {0, 0}}, DType::boolean), rows));
  v.push_back(invalid(
      "of nothing", {zeros({0, 3})}, [f](Inputs x) { return f(x[0], {0}, false); },
      std::string(op) + ": no elements to reduce in f32[0,3]"));
  return v;
}

}  // namespace

std::vector<Sample> Sum::samples() {
  const Call f = sum;
  auto v = over_samples(name, f, draw);
  add_of_nothing(v, f);
  add_special(v, f);
  const auto all = [](Inputs x) { return sum(x[0]); };
  v.push_back(value_only("u8", full({3, 100}, 200, DType::u8), all));
  v.push_back(value_only("bool", tensor({1, 0, 1}, DType::boolean), all));
  v.push_back({"repeated by expand", {draw({3, 1})}, [](Inputs x) {
                 return sum(expand(x[0], {2, 3, 4}), {0, 2});
               }});
  v.push_back({"sum_to", {draw({2, 3, 2})}, [](Inputs x) { return sum_to(x[0], {3, 1}); }});
  v.push_back(invalid(
      "sum_to", {draw({2, 3})},
      [](Inputs x) {
        return sum_to(x[0], {2, 1, 3});
      },
      "sum_to: [2,1,3] does not broadcast to f64[2,3]"));
  return v;
}

std::vector<Sample> Mean::samples() { return floating_samples(name, mean, draw); }

std::vector<Sample> Var::samples() {
  const Call f = [](const Tensor& x, const Axes& axes, bool keepdim) { return var(x, axes, 1, keepdim); };
  const auto biased = [](Inputs x) { return var(x[0], {1}, 0, true); };
  auto v = floating_samples(name, f, draw, false);
  v.push_back({"correction 0", {draw({3, 4})}, biased});
  v.push_back({"correction 0 of one", {draw({3, 1})}, biased});
  v.push_back(value_only("large mean", draw({3, 4}) + 1e6, [](Inputs x) { return var(x[0], {1}); }));
  return v;
}

std::vector<Sample> Deviation::samples() {
  const Call f = [](const Tensor& x, const Axes& axes, bool) { return record(Deviation{axes}, {x}); };
  return floating_samples(name, f, draw);
}

std::vector<Sample> Std::samples() {
  const Call f = [](const Tensor& x, const Axes& axes, bool keepdim) { return std(x, axes, 1, keepdim); };
  // No two elements are equal: the derivative has a pole where the deviation is 0.
  const Draw spread = [](const Shape& s) { return distinct(s) + sample_input(s, -0.1, 0.1); };
  auto v = floating_samples(name, f, spread, false);
  v.push_back({"correction 0", {spread({3, 4})}, [](Inputs x) { return std(x[0], {1}, 0); }});
  v.push_back(value_only("all equal", ones({2, 3}, DType::f64), [](Inputs x) { return std(x[0], {1}); }));
  return v;
}

template<bool largest>
std::vector<Sample> FirstExtreme<largest>::samples() {
  return largest ? extreme_samples<true>(name, max, false) : extreme_samples<false>(name, min, false);
}
template<bool largest>
std::vector<Sample> SharedExtreme<largest>::samples() {
  return largest ? extreme_samples<true>(name, amax, true) : extreme_samples<false>(name, amin, true);
}
template std::vector<Sample> FirstExtreme<true>::samples();
template std::vector<Sample> FirstExtreme<false>::samples();
template std::vector<Sample> SharedExtreme<true>::samples();
template std::vector<Sample> SharedExtreme<false>::samples();

namespace {

template<bool largest>
std::vector<Sample> arg_samples(std::string_view op, Tensor (*along)(const Tensor&, int, bool),
                                Tensor (*flat)(const Tensor&)) {
  const auto axis = [along](int i, bool keepdim = false) {
    return [along, i, keepdim](Inputs x) { return along(x[0], i, keepdim); };
  };
  const auto all = [flat](Inputs x) { return flat(x[0]); };
  const std::string name(op);
  return {
      {"all", {distinct({2, 3, 3})}, all},
      {"scalar", {distinct({})}, all},
      {"first", {distinct({3, 4})}, axis(0)},
      {"middle, kept", {distinct({2, 3, 2})}, axis(1, true)},
      {"last, from the end", {distinct({3, 4})}, axis(-1)},
      {"size 1", {distinct({3, 1})}, axis(1)},
      {"empty result", {distinct({0, 3})}, axis(1)},
      {"ties", {tensor({{1, 3, 3, 1}, {2, 2, 2, 2}, {0, -1, 0, -1}}, DType::f64)}, axis(1)},
      {"special values",
       {tensor({{1, inf, inf}, {-inf, -inf, -inf}, {1, nan, nan}, {-inf, inf, nan}}, DType::f64)},
       axis(1)},
      {"long rows", {with_peaks(4, 2100, largest ? 8 : -8)}, axis(1)},
      {"i32", {tensor({{4, -2}, {-7, 9}}, DType::i32)}, axis(0)},
      {"bool", {tensor({{0, 1}, {0, 0}}, DType::boolean)}, axis(1)},
      invalid("axis", {distinct({2, 3})}, axis(-3), name + ": axis -3 is out of range for 2 dimensions"),
      invalid("of nothing", {zeros({0, 3})}, axis(0), name + ": no elements to reduce in f32[0,3]"),
      invalid("of nothing at all", {zeros({0})}, all, name + ": no elements to reduce in f32[0]"),
  };
}

}  // namespace

template<bool largest>
std::vector<Sample> ArgExtreme<largest>::samples() {
  return largest ? arg_samples<true>(name, argmax, argmax) : arg_samples<false>(name, argmin, argmin);
}
template std::vector<Sample> ArgExtreme<true>::samples();
template std::vector<Sample> ArgExtreme<false>::samples();

std::vector<Sample> LogSumExp::samples() {
  const Call f = logsumexp;
  auto v = floating_samples(name, f, draw);
  const auto rows = [f](Inputs x) { return f(x[0], {1}, false); };
  v.push_back(value_only("far apart",
                         tensor({{1000, 0, -1000}, {-1000, -1001, -1e30}, {1e30, 1, 2}}, DType::f64), rows));
  v.push_back(value_only("masked", tensor({{-inf, 1, 2}, {0.5, -inf, -inf}}, DType::f64), rows));
  return v;
}

std::vector<Sample> Norm::samples() {
  const auto with = [](double p) -> Call {
    return [p](const Tensor& x, const Axes& axes, bool keepdim) { return norm(x, p, axes, keepdim); };
  };
  const Draw off_zero = [](const Shape& s) { return sample_input_off_zero(s); };
  auto v = over_samples(name, with(2), off_zero);
  const auto add = [&](std::string note, Tensor x, double p, bool differentiable = true) {
    v.push_back({note, {x}, [f = with(p)](Inputs x) { return f(x[0], {1}, false); }, {}, differentiable});
  };
  add("p 1", off_zero({3, 4}), 1);
  add("p 3", off_zero({3, 4}), 3);
  add("p 1.5", off_zero({3, 4}), 1.5);
  add("p 0.5", off_zero({3, 4}), 0.5);
  add("p infinity", distinct({3, 4}) + 0.125, inf, false);  // may tie: -1.125 and 1.125
  add("p infinity, apart", tensor({{1, -3, 2}, {5, 4, -1}}, DType::f64), inf);
  const auto add_kinks = [&](std::string note, Tensor x, double p, Tensor derivative) {
    v.push_back(at_kinks(
        note, {x}, [f = with(p)](Inputs x) { return f(x[0], {1}, true); }, derivative));
  };
  for (const double p : {0.5, 1.0, 1.5, 2.0, 3.0, inf})
    add_kinks("zeros", zeros({2, 3}, DType::f64), p, zeros({2, 3}, DType::f64));
  add_kinks("ties", tensor({{2, -2, 1}, {0, 0, 0}}, DType::f64), inf,
            tensor({{.5, -.5, 0}, {0, 0, 0}}, DType::f64));
  add_of_nothing(v, with(2));
  add_special(v, with(2));
  add_special(v, with(inf));
  add_floating_only(v, name, with(2));
  v.push_back(invalid(
      "p", {draw({2})}, [f = with(-1)](Inputs x) { return f(x[0], {}, false); },
      "norm: expected p > 0; got -1"));
  return v;
}

std::vector<Sample> CumSum::samples() {
  const auto along = [](int axis, bool reverse = false) {
    return [axis, reverse](Inputs x) { return cumsum(x[0], axis, reverse); };
  };
  return {
      {"vector", {draw({7})}, along(0)},
      {"reverse", {draw({7})}, along(0, true)},
      {"first", {draw({3, 4})}, along(0)},
      {"middle, reverse", {draw({2, 3, 2})}, along(1, true)},
      {"last, from the end", {draw({3, 4})}, along(-1)},
      {"size 1", {draw({3, 1})}, along(1)},
      {"empty", {draw({0, 3})}, along(0)},
      {"empty slices", {draw({3, 0})}, along(1)},
      value_only("special values", tensor({{1, inf, 2}, {inf, -inf, 0}, {nan, 1, 2}}, DType::f64), along(1)),
      value_only("more than a block", draw({3, 1500}), along(1)),
      value_only("more than a block, first axis", draw({1500, 3}), along(0)),
      value_only("u8", full({300}, 200, DType::u8), along(0)),
      invalid("axis", {draw({2, 3})}, along(2), "cumsum: axis 2 is out of range for 2 dimensions"),
      invalid("scalar", {draw({})}, along(0), "cumsum: axis 0 is out of range for 0 dimensions"),
      invalid("bool", {tensor({1, 0}, DType::boolean)}, along(0),
              "cumsum: expected numbers; got bool[2]; convert it with to(x, DType)"),
  };
}

}  // namespace bobbin
