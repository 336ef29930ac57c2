// Cross-entropy: checks, derivatives of any order, and the public function.
#include "ops/loss/cross_entropy.h"

#include <bobbin/elementwise.h>
#include <bobbin/index.h>
#include <bobbin/reduce.h>
#include <bobbin/softmax.h>
#include <bobbin/view.h>

#include "ops/check.h"
#include "ops/promote.h"
#include "ops/softmax/softmax.h"
#include "ops/wide.h"

namespace bobbin {
namespace {

void check_call(std::string_view op, const CrossEntropyTerms& terms, Inputs x) {
  require_floating(op, x[0]);
  detail::check_targets(op, terms, x[0].spec(), x[1], x[2]);
}

// w [C] in a shape that broadcasts along the class axis of x.
Tensor along_classes(const Tensor& w, const Tensor& x, int axis) {
  Shape shape = Shape::filled(x.rank(), 1);
  shape[axis] = w.numel();
  return reshape(w, shape);
}

}  // namespace

void detail::check_targets(std::string_view op, const CrossEntropyTerms& terms, const TensorSpec& x,
                           const Tensor& t, const Tensor& w) {
  const std::int64_t classes = x.shape[terms.axis];
  const Shape rows = detail::without(x.shape, terms.axis);
  require_classes(op, x, terms.axis);
  if (t.dtype() == DType::i64) {
    if (t.shape() != rows)
      fail<ShapeError>(op, ": class indices for ", x, " must be i64", rows, "; got ", t.spec());
  } else if (t.dtype() != x.dtype || t.shape() != x.shape) {
    fail<ShapeError>(op, ": targets for ", x, " are class indices i64", rows, " or probabilities ", x,
                     "; got ", t.spec());
  }
  if (w && (w.rank() != 1 || w.size(0) != classes || w.dtype() != x.dtype))
    fail<ShapeError>(op, ": expected a weight ", TensorSpec{{classes}, x.dtype, x.device}, "; got ",
                     w.spec());
  if (!(terms.smoothing >= 0 && terms.smoothing <= 1))
    fail<ValueError>(op, ": label_smoothing must lie in [0,1]; got ", terms.smoothing);
}

Shape detail::without(Shape shape, int axis) {
  shape.erase(axis);
  return shape;
}

detail::RowTerms detail::row_terms(const CrossEntropyTerms& terms, const Tensor& x, const Tensor& target,
                                   const Tensor& weight) {
  const DType compute = compute_type(x.dtype());
  const Tensor w = weight ? wide(weight) : ones({x.size(terms.axis)}, compute, x.device());
  const Tensor spread = mean(w) * terms.smoothing;
  if (target.dtype() != DType::i64) {
    const Tensor t = sum(wide(target) * along_classes(w, x, terms.axis), {terms.axis});
    return {Tensor(), t * (1 - terms.smoothing) + spread};
  }
  const Tensor counted = counted_rows(target, terms.ignore_index), counts = to(counted, compute);
  const Tensor of_class = embedding(reshape(w, {-1, 1}), where(counted, target, scalar(0, target)));
  const Tensor class_weight = counts * reshape(of_class, target.shape());
  return {class_weight, class_weight * (1 - terms.smoothing) + counts * spread};
}

Tensor detail::counted_rows(const Tensor& target, std::int64_t ignore_index) {
  // In two parts, of which double holds each.
  const std::int64_t low = ignore_index % (std::int64_t{1} << 32);
  const auto part = [&](std::int64_t v) { return scalar(static_cast<double>(v), target); };
  return ne(target, low == ignore_index ? part(low) : part(ignore_index - low) + part(low));
}

void detail::require_classes(std::string_view op, const TensorSpec& x, int axis) {
  if (x.shape[axis] == 0 && numel(detail::without(x.shape, axis)) > 0)
    fail<ShapeError>(op, ": expected at least one class; got ", x);
}

int detail::class_axis(std::string_view op, const Tensor& x) {
  if (x.rank() == 0) fail<ShapeError>(op, ": expected logits [C], [N,C] or [N,C,d...]; got ", x.spec());
  return x.rank() == 1 ? 0 : 1;
}

void detail::refuse_weight_gradient(std::string_view op, const Tensor& w) {
  if (w && w.requires_grad())
    fail<GradError>(op, ": no gradient flows to the class weights; use their detach()");
}

TensorSpec CrossEntropy::infer(Inputs x) const {
  check_call(name, terms, x);
  const Shape rows = detail::without(x[0].shape(), terms.axis);
  return {terms.reduction == Reduction::none ? rows : Shape{}, x[0].dtype(), x[0].device()};
}

std::vector<TensorSpec> CrossEntropy::aux(Inputs x) const {
  if (x[0].device().is_cuda() && x[0].requires_grad()) return {x[0].spec()};
  return {};
}

TensorSpec CrossEntropyBackward::infer(Inputs x) const {
  check_call(name, terms, x);
  require_same_dtype(name, x[0], x[3]);
  return x[0].spec();
}

namespace {

// The cotangent of each row's loss, from a g of the compute type.
Tensor row_cotangent(const CrossEntropyTerms& terms, const detail::RowTerms& rows, const Tensor& g) {
  switch (terms.reduction) {
    case Reduction::none:
      return g;
    case Reduction::sum:
      return expand(g, rows.sum.shape());
    case Reduction::mean:
      break;
  }
  const double count = static_cast<double>(rows.sum.numel());
  return expand(rows.class_weight ? g / sum(rows.class_weight) : g / count, rows.sum.shape());
}

Tensor backward_of(const CrossEntropyTerms& terms, const Tensor& x, const Tensor& t, const Tensor& w,
                   const Tensor& g) {
  return record(CrossEntropyBackward{terms}, {x, t, w, g});
}

Tensor optional_weight(const Vjp& v) { return v.has_input(2) ? v.input(2) : Tensor(); }

Tensor target_gradient_of(const CrossEntropyTerms& terms, const Vjp& v) {
  return detail::target_gradient(terms, v.input(0), v.input(1), optional_weight(v), v.grad);
}

}  // namespace

Tensor detail::target_gradient(const CrossEntropyTerms& terms, const Tensor& x, const Tensor& target,
                               const Tensor& w, const Tensor& g) {
  const Tensor up = row_cotangent(terms, row_terms(terms, x, target, w), wide(g));
  const Tensor slope = unsqueeze(up, terms.axis) * -log_softmax(wide(x), terms.axis) * (1 - terms.smoothing);
  return to(w ? slope * along_classes(wide(w), x, terms.axis) : slope, x.dtype());
}

Grads CrossEntropy::vjp(const Vjp& v) const {
  Grads g(3);
  if (v.needs(0)) g[0] = backward_of(terms, v.input(0), v.input(1), optional_weight(v), v.grad);
  if (v.needs(1)) g[1] = target_gradient_of(terms, v);
  return g;
}

// Used for a cotangent of 1 only. For another cotangent, the stored gradient would have to be scaled. That
// reads and writes as much memory as a new computation, and the stored values are rounded already (in f16,
// small ones to 0, which a loss scale can no longer prevent).
std::optional<Grads> CrossEntropy::fused_vjp_cuda(const Vjp& v) const {
  if (!v.needs(0) || !v.grad_is_one()) return {};
  Grads g(3);
  g[0] = v.aux(0);
  if (v.needs(1)) g[1] = target_gradient_of(terms, v);
  return g;
}

// D = g (P s - t) with s = sum(t) and P = softmax(X). For a cotangent H of D, the gradients are
//   for X: g s softmax_backward(P, H);
//   for g: sum(H (P s - t));
//   for probabilities: g w (1-e) (sum(H P) - H). Every constant added to H gives the same; less the H of the
//   element that dominates the row, no digits are lost.
Grads CrossEntropyBackward::vjp(const Vjp& v) const {
  const Tensor x = wide(v.input(0)), g = wide(v.input(3)), h = wide(v.grad);
  const Tensor w = v.has_input(2) ? wide(v.input(2)) : Tensor(),
               t = v.input(1).dtype() == DType::i64 ? v.input(1) : wide(v.input(1));
  const DType dtype = v.grad.dtype();
  const detail::RowTerms rows = detail::row_terms(terms, x, t, w);
  const Tensor up = unsqueeze(row_cotangent(terms, rows, g), terms.axis), p = softmax(x, terms.axis);
  Grads out(4);
  if (v.needs(0)) {
    Tensor d = up * unsqueeze(rows.sum, terms.axis) * softmax_backward(p, h, terms.axis);
    // Ignored rows have no gradient, even if their logits are NaN.
    if (rows.class_weight)
      d = where(unsqueeze(detail::counted_rows(t, terms.ignore_index), terms.axis), d, scalar(0, d));
    out[0] = to(d, dtype);
  }
  if (v.needs(1)) {
    const auto over_row = [&](const Tensor& y) { return sum(y, {terms.axis}, true); };
    const Tensor d = h - over_row(where(gt(p, scalar(dominant_probability, p)), h, scalar(0, h)));
    const Tensor slope = up * (over_row(d * p) - d) * (1 - terms.smoothing);
    out[1] = to(w ? slope * along_classes(w, x, terms.axis) : slope, dtype);
  }
  if (v.needs(3)) {
    const Tensor product = h * backward_of(terms, x, t, w, ones_like(g));
    out[3] = to(terms.reduction == Reduction::none ? sum(product, {terms.axis}) : sum(product), dtype);
  }
  return out;
}

Tensor cross_entropy(const Tensor& x, const Tensor& target, const CrossEntropyOptions& o) {
  detail::refuse_weight_gradient("cross_entropy", o.weight);
  const CrossEntropyTerms terms{detail::class_axis("cross_entropy", x), o.ignore_index, o.label_smoothing,
                                o.reduction};
  return record(CrossEntropy{terms}, {in_f32(x), target, o.weight});
}

}  // namespace bobbin
