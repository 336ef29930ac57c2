// Reductions: checks, derivatives and the public functions.
#include "ops/reduce/reduce.h"

#include <bobbin/elementwise.h>
#include <bobbin/index.h>
#include <bobbin/view.h>

#include <cmath>
#include <limits>

#include "ops/check.h"

namespace bobbin {

TensorSpec ReductionAxes::infer(std::string_view op, const Tensor& x, DType result) const {
  const Axes reduced = normalize_axes(op, axes, x.rank());
  TensorSpec y{{}, result, x.device()};
  for (int i = 0; i < x.rank(); ++i) {
    if (!reduced.contains(i))
      y.shape.push_back(x.shape()[i]);
    else if (keepdim)
      y.shape.push_back(1);
  }
  return y;
}

std::int64_t ReductionAxes::count(const Shape& x) const {
  std::int64_t n = 1;
  for (auto axis : normalized(x)) n *= x[static_cast<int>(axis)];
  return n;
}

Tensor ReductionAxes::keep_axes(const Tensor& y, const Shape& x) const {
  if (keepdim) return y;
  Shape shape = x;
  for (auto axis : normalized(x)) shape[static_cast<int>(axis)] = 1;
  return reshape(y, shape);
}

namespace {

TensorSpec infer_floating(std::string_view op, const ReductionAxes& over, const Tensor& x) {
  require_floating(op, x);
  return over.infer(op, x, x.dtype());
}

TensorSpec infer_extreme(std::string_view op, const ReductionAxes& over, const Tensor& x, DType result) {
  const TensorSpec y = over.infer(op, x, result);
  if (over.count(x.shape()) == 0) fail<ShapeError>(op, ": no elements to reduce in ", x.spec());
  return y;
}

// (x - mean) / (n - correction): half of the variance's derivative.
Tensor deviation(const ReductionAxes& over, const Tensor& x, double correction) {
  const double freedom = static_cast<double>(over.count(x.shape())) - correction;
  const double scale = freedom > 0 ? 1 / freedom : std::numeric_limits<double>::quiet_NaN();
  return (x - mean(x, over.axes, true)) * scale;
}

}  // namespace

TensorSpec Sum::infer(Inputs x) const {
  return over.infer(name, x[0], is_floating(x[0].dtype()) ? x[0].dtype() : DType::i64);
}
Grads Sum::vjp(const Vjp& v) const {
  const Shape& shape = v.spec(0).shape;
  return {expand(over.keep_axes(v.grad, shape), shape)};
}

TensorSpec Mean::infer(Inputs x) const { return infer_floating(name, over, x[0]); }
Grads Mean::vjp(const Vjp& v) const {
  const Shape& shape = v.spec(0).shape;
  return {expand(over.keep_axes(v.grad / static_cast<double>(over.count(shape)), shape), shape)};
}

TensorSpec Var::infer(Inputs x) const { return infer_floating(name, over, x[0]); }
Grads Var::vjp(const Vjp& v) const {
  const Tensor& x = v.input(0);
  return {over.keep_axes(v.grad * 2, x.shape()) * deviation(over, x, correction)};
}

TensorSpec Std::infer(Inputs x) const { return infer_floating(name, over, x[0]); }
Grads Std::vjp(const Vjp& v) const {
  const Tensor& x = v.input(0);
  return {over.keep_axes(v.grad / v.output(), x.shape()) * deviation(over, x, correction)};
}

template<bool largest>
TensorSpec FirstExtreme<largest>::infer(Inputs x) const {
  return infer_extreme(name, over, x[0], x[0].dtype());
}
template<bool largest>
std::vector<TensorSpec> FirstExtreme<largest>::aux(Inputs x) const {
  return {over.infer(name, x[0], DType::i64)};
}
template<bool largest>
Grads FirstExtreme<largest>::vjp(const Vjp& v) const {
  // Scatters the gradient into [kept axes..., flattened reduced axes], and permutes that back to x's axes.
  const Shape& shape = v.spec(0).shape;
  const Axes reduced = over.normalized(shape);
  Axes order;
  Shape flat, permuted;
  for (int i = 0; i < shape.size(); ++i)
    if (!reduced.contains(i)) order.push_back(i), flat.push_back(shape[i]);
  permuted = flat;
  for (auto i : reduced) order.push_back(i), permuted.push_back(shape[static_cast<int>(i)]);
  Shape one = flat;
  one.push_back(1);
  flat.push_back(over.count(shape));
  const Tensor none = zeros(flat, v.grad.dtype(), v.grad.device());
  const Tensor scattered = scatter_add(none, -1, reshape(v.aux(0), one), reshape(v.grad, one));
  Axes inverse = order;
  for (int i = 0; i < order.size(); ++i) inverse[static_cast<int>(order[i])] = i;
  return {permute(reshape(scattered, permuted), inverse)};
}

template<bool largest>
TensorSpec SharedExtreme<largest>::infer(Inputs x) const {
  return infer_extreme(name, over, x[0], x[0].dtype());
}
template<bool largest>
Grads SharedExtreme<largest>::vjp(const Vjp& v) const {
  const Tensor& x = v.input(0);
  const Tensor tie = to(eq(x, over.keep_axes(v.output(), x.shape())), x.dtype());
  return {tie * (over.keep_axes(v.grad, x.shape()) / sum(tie, over.axes, true))};
}

template<bool largest>
TensorSpec ArgExtreme<largest>::infer(Inputs x) const {
  return infer_extreme(name, over, x[0], DType::i64);
}

TensorSpec LogSumExp::infer(Inputs x) const { return infer_floating(name, over, x[0]); }
Grads LogSumExp::vjp(const Vjp& v) const {
  const Tensor &x = v.input(0), y = v.output();
  const Tensor none = eq(y, scalar(-std::numeric_limits<double>::infinity(),
                                   y));  // there exp(x - y) would be exp(-inf - -inf), NaN
  const Tensor shift = where(none, scalar(0, y), y);
  return {over.keep_axes(v.grad, x.shape()) * exp(x - over.keep_axes(shift, x.shape()))};
}

TensorSpec Norm::infer(Inputs x) const {
  if (!(p > 0)) fail<ValueError>(name, ": expected p > 0; got ", p);
  return infer_floating(name, over, x[0]);
}
Grads Norm::vjp(const Vjp& v) const {
  const Tensor& x = v.input(0);
  const Tensor g = over.keep_axes(v.grad, x.shape());
  if (p == 1) return {g * sign(x)};
  const Tensor y = over.keep_axes(v.output(), x.shape());
  if (std::isinf(p)) {
    const Tensor tie = to(eq(abs(x), y), x.dtype());
    return {sign(x) * tie * (g / sum(tie, over.axes, true))};
  }
  // Replaces a divisor or a base of 0, whose other factor, x or sign(x), is 0 too.
  const auto or_one = [](const Tensor& t) { return where(eq(t, scalar(0, t)), scalar(1, t), t); };
  const Tensor ratio = x / or_one(y);
  if (p == 2) return {g * ratio};
  return {g * sign(x) * pow(or_one(abs(ratio)), p - 1)};
}

template struct FirstExtreme<true>;
template struct FirstExtreme<false>;
template struct SharedExtreme<true>;
template struct SharedExtreme<false>;
template struct ArgExtreme<true>;
template struct ArgExtreme<false>;

Tensor sum(const Tensor& x, const Axes& axes, bool keepdim) { return record(Sum{{axes, keepdim}}, {x}); }
Tensor mean(const Tensor& x, const Axes& axes, bool keepdim) { return record(Mean{{axes, keepdim}}, {x}); }
Tensor var(const Tensor& x, const Axes& axes, double correction, bool keepdim) {
  return record(Var{{axes, keepdim}, correction}, {x});
}
Tensor std(const Tensor& x, const Axes& axes, double correction, bool keepdim) {
  return record(Std{{axes, keepdim}, correction}, {x});
}
Tensor max(const Tensor& x, const Axes& axes, bool keepdim) { return record(Max{{axes, keepdim}}, {x}); }
Tensor min(const Tensor& x, const Axes& axes, bool keepdim) { return record(Min{{axes, keepdim}}, {x}); }
Tensor amax(const Tensor& x, const Axes& axes, bool keepdim) { return record(AMax{{axes, keepdim}}, {x}); }
Tensor amin(const Tensor& x, const Axes& axes, bool keepdim) { return record(AMin{{axes, keepdim}}, {x}); }
Tensor argmax(const Tensor& x, int axis, bool keepdim) { return record(ArgMax{{{axis}, keepdim}}, {x}); }
Tensor argmax(const Tensor& x) { return record(ArgMax{}, {x}); }
Tensor argmin(const Tensor& x, int axis, bool keepdim) { return record(ArgMin{{{axis}, keepdim}}, {x}); }
Tensor argmin(const Tensor& x) { return record(ArgMin{}, {x}); }
Tensor logsumexp(const Tensor& x, const Axes& axes, bool keepdim) {
  return record(LogSumExp{{axes, keepdim}}, {x});
}
Tensor norm(const Tensor& x, double p, const Axes& axes, bool keepdim) {
  return record(Norm{{axes, keepdim}, p}, {x});
}

// Sums and views, which keep nothing on the tape.
Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  if (x.rank() < shape.size() || broadcast("sum_to", x.shape(), shape) != x.shape())
    fail<ShapeError>("sum_to: ", shape, " does not broadcast to ", x.spec());
  const int lead = x.rank() - shape.size();
  Axes axes;
  for (int i = 0; i < x.rank(); ++i)
    if (x.shape()[i] != 1 && (i < lead || shape[i - lead] == 1)) axes.push_back(i);
  return reshape(axes.empty() ? x : sum(x, axes, lead == 0), shape);
}

}  // namespace bobbin
