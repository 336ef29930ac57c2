// The derivatives of the reductions. Those of 16-bit tensors are computed in f32, from what no kernel has
// rounded to 16 bits, and are rounded once (logsumexp's twice, as softmax is); counts and their reciprocals
// are never 16-bit numbers.
#include <bobbin/elementwise.h>
#include <bobbin/index.h>
#include <bobbin/softmax.h>
#include <bobbin/view.h>

#include <cmath>
#include <limits>

#include "ops/reduce/reduce.h"
#include "ops/softmax/masked_softmax.h"
#include "ops/wide.h"

namespace bobbin {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// 1 / (n - correction), where it is positive, else NaN.
double per_freedom(const ReductionAxes& over, const Shape& x, double correction) {
  const double freedom = static_cast<double>(over.count(x)) - correction;
  return freedom > 0 ? 1 / freedom : std::numeric_limits<double>::quiet_NaN();
}

Tensor deviation(const Tensor& x, const Axes& axes) { return record(Deviation{axes}, {x}); }

// A tensor with its reduced axes moved to the end and made one, and back.
class ReducedLast {
 public:
  ReducedLast(const ReductionAxes& over, const Shape& x) {
    const Axes reduced = over.normalized(x);
    for (int i = 0; i < x.size(); ++i)
      if (!reduced.contains(i)) order_.push_back(i), kept_.push_back(x[i]);
    permuted_ = flat_ = kept_;
    for (auto i : reduced) order_.push_back(i), permuted_.push_back(x[static_cast<int>(i)]);
    flat_.push_back(over.count(x));
    inverse_ = order_;
    for (int i = 0; i < order_.size(); ++i) inverse_[static_cast<int>(order_[i])] = i;
  }
  const Shape& kept() const { return kept_; }
  const Shape& flat() const { return flat_; }
  Tensor flatten(const Tensor& x) const { return reshape(permute(x, order_), flat_); }
  Tensor restore(const Tensor& x) const { return permute(reshape(x, permuted_), inverse_); }

 private:
  Axes order_, inverse_;
  Shape kept_, permuted_, flat_;
};

// Softmax over the reduced axes, but 0 where all elements are -inf, as `none` says.
Tensor softmax_over(const ReductionAxes& over, const Tensor& x, const Tensor& none) {
  const Axes axes = over.normalized(x.shape());
  if (axes.size() == 1 && axes[0] != x.rank() - 1)
    return where(none, scalar(0, x), softmax(x, static_cast<int>(axes[0])));
  const ReducedLast last(over, x.shape());
  return last.restore(record(MaskedSoftmax{.causal = false, .empty_is_zero = true}, {last.flatten(x)}));
}

// g, shared equally among the elements of x that are y, or NaN where y is; g and y have x's reduced axes.
Tensor share_among_ties(const ReductionAxes& over, const Tensor& g, const Tensor& x, const Tensor& y) {
  const Tensor equal = eq(x, y), tie = where(ne(x, x), scalar(1, equal), equal);
  const Tensor g_wide = wide(g), count = to(sum(tie, over.axes, true), g_wide.dtype());
  return where(tie, to(g_wide / count, x.dtype()), scalar(0, x));
}

// Replaces a divisor or a base of 0, whose other factor is 0 too.
Tensor or_one(const Tensor& t) { return where(eq(t, scalar(0, t)), scalar(1, t), t); }

// The derivative of `from`'s output for that of `target`, along at most `steps` operations that keep its
// shape, by the cotangent of `from`; undefined if there is none.
Tensor derivative_for(const Node& target, Node& from, const Tensor& cotangent, int steps) {
  Tensor sum;
  if (from.is_leaf() || from.sequence <= target.sequence) return sum;
  const Grads grads = from.op->vjp(Vjp(from, cotangent));
  for (std::size_t i = 0; i < grads.size(); ++i) {
    Node* const producer = from.inputs[i].producer.get();
    if (!grads[i] || !producer || producer->spec.shape != target.spec.shape) continue;
    const Tensor part = producer == &target ? grads[i]
                        : steps > 0         ? derivative_for(target, *producer, grads[i], steps - 1)
                                            : Tensor();
    if (part) sum = sum ? sum + part : part;
  }
  return sum;
}

}  // namespace

Grads Sum::vjp(const Vjp& v) const {
  const Shape& shape = v.spec(0).shape;
  return {expand(over.keep_axes(v.grad, shape), shape)};
}

Grads Mean::vjp(const Vjp& v) const {
  const Shape& shape = v.spec(0).shape;
  const Tensor share = to(wide(v.grad) / static_cast<double>(over.count(shape)), v.grad.dtype());
  return {expand(over.keep_axes(share, shape), shape)};
}

Grads Var::vjp(const Vjp& v) const {
  const Tensor& x = v.input(0);
  const Tensor scale = wide(v.grad) * (2 * per_freedom(over, x.shape(), correction));
  return {to(over.keep_axes(scale, x.shape()) * deviation(x, over.axes), x.dtype())};
}

// The deviation is a projection: it is its own transpose.
Grads Deviation::vjp(const Vjp& v) const { return {to(deviation(v.grad, axes), v.spec(0).dtype)}; }

// The deviation is divided by y first: the quotient is at most sqrt(n), where g / y might overflow.
Grads Std::vjp(const Vjp& v) const {
  const Tensor& x = v.input(0);
  const double share = per_freedom(over, x.shape(), correction);
  const Tensor d = deviation(x, over.axes), scale = over.keep_axes(wide(v.grad) * share, x.shape());
  const Tensor y = x.dtype() == d.dtype() ? over.keep_axes(v.output(), x.shape())
                                          : norm(d, 2, over.axes, true) * std::sqrt(share);
  return {to(d / or_one(y) * scale, x.dtype())};
}

template<bool largest>
Grads FirstExtreme<largest>::vjp(const Vjp& v) const {
  const ReducedLast last(over, v.spec(0).shape);
  Shape one = last.kept();
  one.push_back(1);
  const Tensor none = zeros(last.flat(), v.grad.dtype(), v.grad.device());
  return {last.restore(scatter_add(none, -1, reshape(v.aux(0), one), reshape(v.grad, one)))};
}

template<bool largest>
Grads SharedExtreme<largest>::vjp(const Vjp& v) const {
  const Tensor& x = v.input(0);
  return {
      share_among_ties(over, over.keep_axes(v.grad, x.shape()), x, over.keep_axes(v.output(), x.shape()))};
}

// The derivative is softmax(x), which does not lose what exp(x - y) would lose by the rounding of y.
Grads LogSumExp::vjp(const Vjp& v) const {
  const Tensor& x = v.input(0);
  const Tensor none = eq(over.keep_axes(v.output(), x.shape()), scalar(-infinity, x));
  return {over.keep_axes(v.grad, x.shape()) * softmax_over(over, x, none)};
}

Grads Norm::vjp(const Vjp& v) const {
  const Tensor& in = v.input(0);
  const Tensor g = over.keep_axes(v.grad, in.shape());
  if (p == 1) return {g * sign(in)};
  if (std::isinf(p))
    return {sign(in) * share_among_ties(over, g, abs(in), over.keep_axes(v.output(), in.shape()))};
  // A quotient x / y that is subnormal in f32 has lost the digits of its powers.
  const Tensor x = p == 2 ? wide(in) : to(in, DType::f64);
  const Tensor y = compute_type(in.dtype()) == in.dtype()
                       ? to(over.keep_axes(v.output(), in.shape()), x.dtype())
                       : norm(x, p, over.axes, true);
  const Tensor ratio = x / or_one(y);
  const Tensor slope = p == 2 ? ratio : sign(x) * pow(or_one(abs(ratio)), p - 1);
  Tensor out = to(g, x.dtype()) * slope;
  // Where y is 0, the derivative of g x / y for x is the limit of g / y: that of g for y, as for norm(x)^2.
  // The value, 0, does not show it, so it is taken from the tape.
  if (p == 2 && grad_enabled() && v.grad.requires_grad() && !v.grad.node()->is_leaf()) {
    const Tensor output = v.output();
    if (const Tensor limit = derivative_for(*output.node(), *v.grad.node(), ones_like(v.grad), 4))
      out = where(eq(y, scalar(0, y)), wide(over.keep_axes(limit, in.shape())) * x, out);
  }
  return {to(out, in.dtype())};
}

template Grads FirstExtreme<true>::vjp(const Vjp&) const;
template Grads FirstExtreme<false>::vjp(const Vjp&) const;
template Grads SharedExtreme<true>::vjp(const Vjp&) const;
template Grads SharedExtreme<false>::vjp(const Vjp&) const;

}  // namespace bobbin
