// Softmax and log-softmax: checks, derivatives and the public functions.
#include "ops/softmax/softmax.h"

#include <bobbin/elementwise.h>
#include <bobbin/reduce.h>

#include <cmath>

#include "ops/check.h"
#include "ops/promote.h"
#include "ops/wide.h"

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

int axis_of(std::string_view op, const Tensor& x, int axis) {
  return x.rank() == 0 && (axis == 0 || axis == -1) ? 0 : normalize_axis(op, axis, x.rank());
}

// The axes to sum over; none for a scalar, which is a row of one element.
Axes row_axes(const Tensor& x, int axis) { return x.rank() == 0 ? Axes{} : Axes{axis}; }

}  // namespace

TensorSpec Softmax::infer(Inputs x) const { return infer_forward(name, x); }
TensorSpec LogSoftmax::infer(Inputs x) const { return infer_forward(name, x); }
TensorSpec SoftmaxBackward::infer(Inputs x) const { return infer_backward(name, x); }
TensorSpec LogSoftmaxBackward::infer(Inputs x) const { return infer_backward(name, x); }

// dX = O (D - sum(O D)) with D = dO - c. For a cotangent H of dX, the gradients are
//   for dO: O (H - sum(O H)), which is softmax_backward again;
//   for O:  H (D - sum(O D)) - D sum(O H).
Grads SoftmaxBackward::vjp(const Vjp& v) const {
  Grads out(2);
  if (v.needs(1)) out[1] = softmax_backward(v.input(0), v.grad, axis);
  if (!v.needs(0)) return out;
  const Tensor o = wide(v.input(0)), g = wide(v.input(1)), h = wide(v.grad);
  const auto over_row = [&](const Tensor& t) { return sum(t, row_axes(t, axis), true); };
  const Tensor d = g - over_row(where(gt(o, scalar(dominant_probability, o)), g, scalar(0, g)));
  out[0] = to(h * (d - over_row(o * d)) - d * over_row(o * h), v.grad.dtype());
  return out;
}

// dX = dO - P S with P = exp(O) and S = sum(dO). For a cotangent H of dX, the gradients are
//   for O:  -H P S;
//   for dO: H - sum(P H). With c = H of the element that dominates the row (0 if none does), this is
//           (H - c) - sum(P' H), where P' = P - 1 there and P elsewhere.
Grads LogSoftmaxBackward::vjp(const Vjp& v) const {
  const Tensor o = wide(v.input(0)), h = wide(v.grad);
  const auto over_row = [&](const Tensor& t) { return sum(t, row_axes(t, axis), true); };
  Grads out(2);
  if (v.needs(0)) out[0] = to(-h * exp(o) * over_row(wide(v.input(1))), v.grad.dtype());
  if (v.needs(1)) {
    const Tensor dominant = gt(o, scalar(std::log(dominant_probability), o));
    const Tensor c = over_row(where(dominant, h, scalar(0, h)));
    out[1] = to((h - c) - over_row(where(dominant, expm1(o), exp(o)) * h), v.grad.dtype());
  }
  return out;
}

Tensor softmax(const Tensor& x, int axis) {
  return record(Softmax{axis_of("softmax", x, axis)}, {in_f32(x)});
}
Tensor log_softmax(const Tensor& x, int axis) {
  return record(LogSoftmax{axis_of("log_softmax", x, axis)}, {in_f32(x)});
}
Tensor softmax_backward(const Tensor& o, const Tensor& g, int axis) {
  return record(SoftmaxBackward{axis_of("softmax_backward", o, axis)}, {o, g});
}
Tensor log_softmax_backward(const Tensor& o, const Tensor& g, int axis) {
  return record(LogSoftmaxBackward{axis_of("log_softmax_backward", o, axis)}, {o, g});
}

}  // namespace bobbin
