// Softmax and log-softmax: checks, derivatives and the public functions.
#include "ops/softmax/softmax.h"

#include <bobbin/elementwise.h>
#include <bobbin/reduce.h>

#include "ops/check.h"

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

// dX = O (dO - s) with s = sum(O dO). For a cotangent H of dX, the gradients are
//   for dO: O (H - sum(O H)), which is softmax_backward again;
//   for O:  H (dO - s) - dO sum(O H).
Grads SoftmaxBackward::vjp(const Vjp& v) const {
  const Tensor &o = v.input(0), &g = v.input(1), &h = v.grad;
  Grads out(2);
  const auto over_row = [&](const Tensor& t) { return sum(t, row_axes(t, axis), true); };
  if (v.needs(0)) out[0] = h * (g - over_row(o * g)) - g * over_row(o * h);
  if (v.needs(1)) out[1] = softmax_backward(o, h, axis);
  return out;
}

// dX = dO - exp(O) S with S = sum(dO). For a cotangent H of dX, the gradients are
//   for dO: H - sum(exp(O) H);
//   for O:  -H exp(O) S.
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

}  // namespace bobbin
