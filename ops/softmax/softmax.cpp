#include "ops/softmax/softmax.h"

#include <algorithm>
#include <array>

#include "core/strided_copy.h"
#include "ops/cpu/rows.h"
#include "ops/cpu/softmax_rows.h"
#include "ops/samples.h"
#include "ops/softmax/row_blocks.h"
#include "ops/softmax/short_rows.h"

namespace bobbin {
namespace {

TensorSpec infer_forward(std::string_view op, Inputs x) {
  require_floating(op, x[0]);
  return x[0].spec();
}

TensorSpec infer_backward(std::string_view op, Inputs x) {
  require_floating(op, x[0]);
  require_same_dtype(op, x[0], x[1]);
  require_same_shape(op, x[0], x[1]);
  return x[0].spec();
}

// Runs f(Type, block, length) over blocks of rows in the compute type.
template<int inputs, class F>
void each_block(Inputs any, const Tensor& y, int axis, F&& f) {
  std::array<Tensor, inputs> x;
  std::transform(any.begin(), any.end(), x.begin(), [](const Tensor& t) { return row_major(t); });
  const DType compute = compute_type(y.dtype());
  const std::int64_t n = y.rank() ? y.shape()[axis] : 1;
  const auto run = [&](auto type) {
    for_row_blocks(x, y, axis, compute, [&](const RowBlock& block) { f(type, block, n); });
  };
  compute == DType::f64 ? run(Type<double>{}) : run(Type<float>{});
}

int axis_of(std::string_view op, const Tensor& x, int axis) {
  return x.rank() == 0 && (axis == 0 || axis == -1) ? 0 : normalize_axis(op, axis, x.rank());
}

// A scalar is a row of its own.
Axes row_axes(const Tensor& x, int axis) { return x.rank() == 0 ? Axes{} : Axes{axis}; }

}  // namespace

TensorSpec Softmax::infer(Inputs x) const { return infer_forward(name, x); }
TensorSpec LogSoftmax::infer(Inputs x) const { return infer_forward(name, x); }
TensorSpec SoftmaxBackward::infer(Inputs x) const { return infer_backward(name, x); }
TensorSpec LogSoftmaxBackward::infer(Inputs x) const { return infer_backward(name, x); }

void Softmax::cpu(Inputs x, Tensor& y) const {
  each_block<1>(x, y, axis, []<class T>(Type<T>, const RowBlock& block, std::int64_t n) {
    n <= rows::most_short ? rows::softmax_short<T>(block, n) : rows::softmax<T>(block, n);
  });
}

void SoftmaxBackward::cpu(Inputs x, Tensor& y) const {
  each_block<2>(x, y, axis, []<class T>(Type<T>, const RowBlock& block, std::int64_t n) {
    n <= rows::most_short ? rows::softmax_backward_short<T>(block, n) : rows::softmax_backward<T>(block, n);
  });
}

void LogSoftmax::cpu(Inputs x, Tensor& y) const {
  each_block<1>(x, y, axis, []<class T>(Type<T>, const RowBlock& block, std::int64_t n) {
    for (std::int64_t r = 0; r < block.count; ++r) {
      const T* const x = block.input<T>(0, r);
      T* const y = block.output<T>(r);
      const auto [max, log_rest] = rows::log_sum(x, y, n);
      const double m = static_cast<double>(max), l = log_rest;
      for (std::int64_t i = 0; i < n; ++i) y[i] = static_cast<T>(static_cast<double>(x[i]) - m - l);
    }
  });
}

void LogSoftmaxBackward::cpu(Inputs x, Tensor& y) const {
  each_block<2>(x, y, axis, []<class T>(Type<T>, const RowBlock& block, std::int64_t n) {
    for (std::int64_t r = 0; r < block.count; ++r) {
      const T *const o = block.input<T>(0, r), *const g = block.input<T>(1, r);
      T* const y = block.output<T>(r);
      const T total = static_cast<T>(rows::sum<T>(n, [=](std::int64_t i) { return g[i]; }));
      for (std::int64_t i = 0; i < n; ++i) y[i] = g[i] - math::exp(o[i]) * total;
    }
  });
}

// With dX = O (dO - s), s = sum(O dO), and a cotangent H of dX:
//   for dO: O (H - sum(O H)), which is softmax_backward again;  for O: H (dO - s) - dO sum(O H).
Grads SoftmaxBackward::vjp(const Vjp& v) const {
  const Tensor &o = v.input(0), &g = v.input(1), &h = v.grad;
  Grads out(2);
  const auto over_row = [&](const Tensor& t) { return sum(t, row_axes(t, axis), true); };
  if (v.needs(0)) out[0] = h * (g - over_row(o * g)) - g * over_row(o * h);
  if (v.needs(1)) out[1] = softmax_backward(o, h, axis);
  return out;
}

// With dX = dO - exp(O) S, S = sum(dO):  for dO: H - sum(exp(O) H);  for O: -H exp(O) S.
Grads LogSoftmaxBackward::vjp(const Vjp& v) const {
  const Tensor &o = v.input(0), &g = v.input(1), &h = v.grad;
  const Tensor p = exp(o);
  Grads out(2);
  if (v.needs(0)) out[0] = -h * p * sum(g, row_axes(g, axis), true);
  if (v.needs(1)) out[1] = h - sum(p * h, row_axes(g, axis), true);
  return out;
}

Tensor softmax(const Tensor& x, int axis) { return record(Softmax{axis_of("softmax", x, axis)}, {x}); }
Tensor log_softmax(const Tensor& x, int axis) {
  return record(LogSoftmax{axis_of("log_softmax", x, axis)}, {x});
}
Tensor softmax_backward(const Tensor& o, const Tensor& g, int axis) {
  return record(SoftmaxBackward{axis_of("softmax_backward", o, axis)}, {o, g});
}
Tensor log_softmax_backward(const Tensor& o, const Tensor& g, int axis) {
  return record(LogSoftmaxBackward{axis_of("log_softmax_backward", o, axis)}, {o, g});
}

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

}  // namespace bobbin
