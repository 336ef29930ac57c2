// Reductions: checks and the public functions.
#include "ops/reduce/reduce.h"

#include <bobbin/view.h>

#include <limits>

#include "ops/check.h"
#include "ops/promote.h"

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
  for (auto axis : normalized(x))
    if (__builtin_mul_overflow(n, x[static_cast<int>(axis)], &n))  // where another size is 0
      n = std::numeric_limits<std::int64_t>::max();
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

}  // namespace

TensorSpec Sum::infer(Inputs x) const {
  return over.infer(name, x[0], is_floating(x[0].dtype()) ? x[0].dtype() : DType::i64);
}
TensorSpec Mean::infer(Inputs x) const { return infer_floating(name, over, x[0]); }
TensorSpec Var::infer(Inputs x) const { return infer_floating(name, over, x[0]); }
TensorSpec Std::infer(Inputs x) const { return infer_floating(name, over, x[0]); }
TensorSpec Deviation::infer(Inputs x) const {
  require_floating(name, x[0]);
  normalize_axes(name, axes, x[0].rank());
  return {x[0].shape(), compute_type(x[0].dtype()), x[0].device()};
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
TensorSpec SharedExtreme<largest>::infer(Inputs x) const {
  return infer_extreme(name, over, x[0], x[0].dtype());
}
template<bool largest>
TensorSpec ArgExtreme<largest>::infer(Inputs x) const {
  return infer_extreme(name, over, x[0], DType::i64);
}

template TensorSpec FirstExtreme<true>::infer(Inputs) const;
template TensorSpec FirstExtreme<false>::infer(Inputs) const;
template TensorSpec SharedExtreme<true>::infer(Inputs) const;
template TensorSpec SharedExtreme<false>::infer(Inputs) const;
template TensorSpec ArgExtreme<true>::infer(Inputs) const;
template TensorSpec ArgExtreme<false>::infer(Inputs) const;
template std::vector<TensorSpec> FirstExtreme<true>::aux(Inputs) const;
template std::vector<TensorSpec> FirstExtreme<false>::aux(Inputs) const;

TensorSpec LogSumExp::infer(Inputs x) const { return infer_floating(name, over, x[0]); }
TensorSpec Norm::infer(Inputs x) const {
  if (!(p > 0)) fail<ValueError>(name, ": expected p > 0; got ", p);
  return infer_floating(name, over, x[0]);
}

Tensor sum(const Tensor& x, const Axes& axes, bool keepdim) {
  return record(Sum{{axes, keepdim}}, {in_f32(x)});
}
Tensor mean(const Tensor& x, const Axes& axes, bool keepdim) {
  return record(Mean{{axes, keepdim}}, {in_f32(x)});
}
Tensor var(const Tensor& x, const Axes& axes, double correction, bool keepdim) {
  return record(Var{{axes, keepdim}, correction}, {in_f32(x)});
}
Tensor std(const Tensor& x, const Axes& axes, double correction, bool keepdim) {
  return record(Std{{axes, keepdim}, correction}, {in_f32(x)});
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
  return record(LogSumExp{{axes, keepdim}}, {in_f32(x)});
}
Tensor norm(const Tensor& x, double p, const Axes& axes, bool keepdim) {
  return record(Norm{{axes, keepdim}, p}, {in_f32(x)});
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
