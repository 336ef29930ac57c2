#include "ops/reduce/reduce.h"

#include "ops/check.h"
#include "ops/reduce/accumulators.h"

namespace bobbin {

TensorSpec Over::infer(std::string_view op, const Tensor& x, DType result) const {
  const Axes gone = normalize_axes(op, axes, x.rank());
  TensorSpec y{{}, result, x.device()};
  for (int i = 0; i < x.rank(); ++i) {
    if (!gone.contains(i))
      y.shape.push_back(x.shape()[i]);
    else if (keepdim)
      y.shape.push_back(1);
  }
  return y;
}

std::int64_t Over::count(const Shape& x) const {
  std::int64_t n = 1;
  for (auto axis : of(x)) n *= x[static_cast<int>(axis)];
  return n;
}

Tensor Over::keep(const Tensor& y, const Shape& x) const {
  if (keepdim) return y;
  Shape shape = x;
  for (auto axis : of(x)) shape[static_cast<int>(axis)] = 1;
  return reshape(y, shape);
}

namespace {

TensorSpec infer_floating(std::string_view op, const Over& over, const Tensor& x) {
  require_floating(op, x);
  return over.infer(op, x, x.dtype());
}

TensorSpec infer_extreme(std::string_view op, const Over& over, const Tensor& x, DType result) {
  const TensorSpec y = over.infer(op, x, result);
  if (over.count(x.shape()) == 0) fail<ShapeError>(op, ": no elements to reduce in ", x.spec());
  return y;
}

template<class F>
void run(F f, const Over& over, const Tensor& x, const Tensor* y, const Tensor* index = nullptr) {
  reduce(AccumulatorOf<F>(f), x, over.of(x.shape()), y, index);
}

void run_sum(bool mean, const Over& over, const Tensor& x, Tensor& y) {
  if (x.dtype() == DType::f64)
    run(fold::Sum<double, double>{{}, mean}, over, x, &y);
  else if (is_floating(x.dtype()))
    run(fold::Sum<float, double>{{}, mean}, over, x, &y);
  else
    run(fold::Sum<std::int64_t, std::int64_t>{}, over, x, &y);
}

// f64 holds every floating type exactly, and i64 every other.
template<bool largest>
void run_extreme(const Over& over, const Tensor& x, const Tensor* y, const Tensor* index) {
  if (is_floating(x.dtype()))
    run(fold::Extreme<double, largest>{}, over, x, y, index);
  else
    run(fold::Extreme<std::int64_t, largest>{}, over, x, y, index);
}

// (x - mean) / (n - correction): half the variance's derivative.
Tensor deviation(const Over& over, const Tensor& x, double correction) {
  const double freedom = static_cast<double>(over.count(x.shape())) - correction;
  const double scale = freedom > 0 ? 1 / freedom : std::numeric_limits<double>::quiet_NaN();
  return (x - mean(x, over.axes, true)) * scale;
}

}  // namespace

TensorSpec Sum::infer(Inputs x) const {
  return over.infer(name, x[0], is_floating(x[0].dtype()) ? x[0].dtype() : DType::i64);
}
void Sum::cpu(Inputs x, Tensor& y) const { run_sum(false, over, x[0], y); }
Grads Sum::vjp(const Vjp& v) const {
  const Shape& shape = v.spec(0).shape;
  return {expand(over.keep(v.grad, shape), shape)};
}

TensorSpec Mean::infer(Inputs x) const { return infer_floating(name, over, x[0]); }
void Mean::cpu(Inputs x, Tensor& y) const { run_sum(true, over, x[0], y); }
Grads Mean::vjp(const Vjp& v) const {
  const Shape& shape = v.spec(0).shape;
  return {expand(over.keep(v.grad / static_cast<double>(over.count(shape)), shape), shape)};
}

TensorSpec Var::infer(Inputs x) const { return infer_floating(name, over, x[0]); }
void Var::cpu(Inputs x, Tensor& y) const { run(fold::Variance{correction, false}, over, x[0], &y); }
Grads Var::vjp(const Vjp& v) const {
  const Tensor& x = v.input(0);
  return {over.keep(v.grad * 2, x.shape()) * deviation(over, x, correction)};
}

TensorSpec Std::infer(Inputs x) const { return infer_floating(name, over, x[0]); }
void Std::cpu(Inputs x, Tensor& y) const { run(fold::Variance{correction, true}, over, x[0], &y); }
Grads Std::vjp(const Vjp& v) const {
  const Tensor& x = v.input(0);
  return {over.keep(v.grad / v.output(), x.shape()) * deviation(over, x, correction)};
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
void FirstExtreme<largest>::cpu(Inputs x, Tensor& y, std::span<Tensor> aux) const {
  run_extreme<largest>(over, x[0], &y, aux.empty() ? nullptr : &aux[0]);
}
template<bool largest>
Grads FirstExtreme<largest>::vjp(const Vjp& v) const {
  // Scattered into [kept axes..., all the reduced ones], whose axes then go back to their places.
  const Shape& shape = v.spec(0).shape;
  const Axes gone = over.of(shape);
  Axes order;
  Shape columns, moved;
  for (int i = 0; i < shape.size(); ++i)
    if (!gone.contains(i)) order.push_back(i), columns.push_back(shape[i]);
  moved = columns;
  for (auto i : gone) order.push_back(i), moved.push_back(shape[static_cast<int>(i)]);
  Shape picked = columns;
  picked.push_back(1);
  columns.push_back(over.count(shape));
  const Tensor none = zeros(columns, v.grad.dtype(), v.grad.device());
  const Tensor flat = scatter_add(none, -1, reshape(v.aux(0), picked), reshape(v.grad, picked));
  Axes back = order;
  for (int i = 0; i < order.size(); ++i) back[static_cast<int>(order[i])] = i;
  return {permute(reshape(flat, moved), back)};
}

template<bool largest>
TensorSpec SharedExtreme<largest>::infer(Inputs x) const {
  return infer_extreme(name, over, x[0], x[0].dtype());
}
template<bool largest>
void SharedExtreme<largest>::cpu(Inputs x, Tensor& y) const {
  run_extreme<largest>(over, x[0], &y, nullptr);
}
template<bool largest>
Grads SharedExtreme<largest>::vjp(const Vjp& v) const {
  const Tensor& x = v.input(0);
  const Tensor tie = to(eq(x, over.keep(v.output(), x.shape())), x.dtype());
  return {tie * (over.keep(v.grad, x.shape()) / sum(tie, over.axes, true))};
}

template<bool largest>
TensorSpec ArgExtreme<largest>::infer(Inputs x) const {
  return infer_extreme(name, over, x[0], DType::i64);
}
template<bool largest>
void ArgExtreme<largest>::cpu(Inputs x, Tensor& y) const {
  run_extreme<largest>(over, x[0], nullptr, &y);
}

TensorSpec LogSumExp::infer(Inputs x) const { return infer_floating(name, over, x[0]); }
void LogSumExp::cpu(Inputs x, Tensor& y) const {
  if (x[0].dtype() == DType::f64)
    run(fold::LogSumExp<double>{}, over, x[0], &y);
  else
    run(fold::LogSumExp<float>{}, over, x[0], &y);
}
Grads LogSumExp::vjp(const Vjp& v) const {
  const Tensor &x = v.input(0), y = v.output();
  const Tensor none = eq(y, scalar(-std::numeric_limits<double>::infinity(), y));  // -inf - -inf is NaN
  const Tensor shift = where(none, scalar(0, y), y);
  return {over.keep(v.grad, x.shape()) * exp(x - over.keep(shift, x.shape()))};
}

TensorSpec Norm::infer(Inputs x) const {
  if (!(p > 0)) fail<ValueError>(name, ": expected p > 0; got ", p);
  return infer_floating(name, over, x[0]);
}
void Norm::cpu(Inputs x, Tensor& y) const {
  using fold::Power;
  if (p == 1)
    run(fold::Norm<Power::one>{}, over, x[0], &y);
  else if (p == 2)
    run(fold::Norm<Power::two>{}, over, x[0], &y);
  else if (std::isinf(p))
    run(fold::MaxNorm{}, over, x[0], &y);
  else
    run(fold::Norm<Power::any>{{}, p}, over, x[0], &y);
}
Grads Norm::vjp(const Vjp& v) const {
  const Tensor& x = v.input(0);
  const Tensor g = over.keep(v.grad, x.shape());
  if (p == 1) return {g * sign(x)};
  const Tensor y = over.keep(v.output(), x.shape());
  if (std::isinf(p)) {
    const Tensor tie = to(eq(abs(x), y), x.dtype());
    return {sign(x) * tie * (g / sum(tie, over.axes, true))};
  }
  // Where a divisor or a base is 0, the factor x or sign(x) beside it is, too: 1 stands in.
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

// No operation of its own: sums and views keep nothing on the tape.
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
