// Checks and derivatives of the convolutions, and the public functions conv1d, conv2d and conv_transpose2d.
#include "ops/conv/conv.h"

#include <bobbin/reduce.h>
#include <bobbin/tape.h>
#include <bobbin/view.h>

#include <algorithm>
#include <limits>

#include "ops/check.h"
#include "ops/matmul/autocast.h"

namespace bobbin {
namespace {

template<class Op>
Tensor record_with_bias(const Op& op, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return bias ? record_autocast(op, {x, weight, bias}) : record_autocast(op, {x, weight});
}

void require_images(std::string_view op, Inputs x) {
  require_floating(op, x[0]);
  require_same_dtype(op, x[0], x[1]);
}

// The longest side of an image or a kernel, and the largest option: no size computed from them overflows.
constexpr std::int64_t most_pixels = std::numeric_limits<std::int32_t>::max();

// The gradient of the bias; undefined where none is needed.
Tensor bias_grad(const Vjp& v, const Tensor& g) { return v.needs(2) ? sum(g, {0, 2, 3}) : Tensor(); }
Tensor bias_grad(const Vjp& v) { return bias_grad(v, v.grad); }

}  // namespace

bool ConvShape::is_pointwise() const {
  return kh == 1 && kw == 1 && options.stride == Pair(1) && options.padding == Pair(0);
}

bool ConvShape::is_direct() const { return options.stride == Pair(1) && !is_pointwise(); }

ConvShape conv_shape(std::string_view op, const ConvOptions& o, const Shape& x, const Shape& weight) {
  const auto bad = [&](const auto&... what) {
    fail<ShapeError>(op, ": ", what..., "; got x ", x, " and weight ", weight);
  };
  if (x.size() != 4 || weight.size() != 4)
    bad("expected x [n, in, h, w] and weight [out, in / groups, kh, kw]");
  if (o.groups < 1 || x[1] % o.groups != 0 || x[1] / o.groups != weight[1] || weight[0] % o.groups != 0)
    bad("channels do not fit ", o.groups, o.groups == 1 ? " group" : " groups");
  const auto in_range = [](const Pair& p, std::int64_t least) {
    return std::min(p.h, p.w) >= least && std::max(p.h, p.w) <= most_pixels;
  };
  if (!in_range(o.stride, 1) || !in_range(o.dilation, 1) || !in_range(o.padding, 0))
    fail<ValueError>(
        op, ": expected stride and dilation of at least 1, and padding of at least 0; none above 2^31");
  if (std::max({x[2], x[3], weight[2], weight[3]}) > most_pixels)
    bad("sides of 2^31 elements or more are not convolved");
  const auto along = [&](std::int64_t size, std::int64_t k, std::int64_t stride, std::int64_t pad,
                         std::int64_t dilation) {
    const std::int64_t room = size + 2 * pad - dilation * (k - 1) - 1;
    if (k < 1 || room < 0) bad("the kernel is larger than the padded image");
    return room / stride + 1;
  };
  return {o,
          x[0],
          x[1],
          x[2],
          x[3],
          weight[0],
          weight[2],
          weight[3],
          along(x[2], weight[2], o.stride.h, o.padding.h, o.dilation.h),
          along(x[3], weight[3], o.stride.w, o.padding.w, o.dilation.w)};
}

DType result_dtype(bool wide, Inputs x) { return wide ? compute_type(x[0].dtype()) : x[0].dtype(); }

void require_bias(std::string_view op, Inputs x, DType result, std::int64_t channels) {
  const Tensor bias = bias_of(x);
  if (!bias) return;
  if (bias.dtype() != result) require_same_dtype(op, x[0], bias);
  if (bias.rank() != 1 || bias.size(0) != channels)
    fail<ShapeError>(op, ": expected a bias [", channels, "]; got ", bias.spec());
}

TensorSpec Conv2d::infer(Inputs x) const {
  require_images(name, x);
  const ConvShape s = conv_shape(name, options, x[0].shape(), x[1].shape());
  const DType result = result_dtype(wide, x);
  require_bias(name, x, result, s.out);
  return {s.y(), result, x[0].device()};
}

Grads Conv2d::vjp(const Vjp& v) const {
  Grads out(static_cast<std::size_t>(v.count()));
  const Tensor g = sums_gradient(v, activation, [&] {
    const Conv2d sums{options, Activation::none, wide};
    return v.count() > 2 ? record(sums, {v.input(0), v.input(1), v.input(2)})
                         : record(sums, {v.input(0), v.input(1)});
  });
  const Tensor narrow = v.needs(0) || v.needs(1) ? to(g, v.input(v.needs(0) ? 1 : 0).dtype()) : g;
  const auto size = [&](int i) { return Pair(v.spec(i).shape[2], v.spec(i).shape[3]); };
  if (v.needs(0)) out[0] = record(Conv2dInputGrad{options, size(0)}, {narrow, v.input(1)});
  if (v.needs(1)) out[1] = record(Conv2dWeightGrad{options, size(1)}, {v.input(0), narrow});
  if (v.count() > 2) out[2] = bias_grad(v, g);
  return out;
}

TensorSpec Conv2dInputGrad::infer(Inputs x) const {
  require_images(name, x);
  const Tensor &g = x[0], &weight = x[1];
  if (g.rank() != 4 || weight.rank() != 4)
    fail<ShapeError>(name, ": expected g [n, out, oh, ow] and weight [out, in / groups, kh, kw]; got ",
                     g.spec(), " and ", weight.spec());
  if (options.groups < 1 || options.groups > most_pixels || weight.size(1) > most_pixels)
    fail<ShapeError>(name, ": channels do not fit ", options.groups, " groups; got weight ", weight.spec());
  const ConvShape s =
      conv_shape(name, options, {g.size(0), weight.size(1) * options.groups, size.h, size.w}, weight.shape());
  if (g.shape() != s.y())
    fail<ShapeError>(name, ": expected g ", s.y(), " for images of ", size.h, " x ", size.w, "; got ",
                     g.spec());
  const DType result = result_dtype(wide, x);
  require_bias(name, x, result, s.in);
  return {s.x(), result, g.device()};
}

// With a cotangent h of the result, which stands for x in the trilinear form: the gradient of g is
// conv2d(h, weight), that of the weight is its gradient for x = h.
Grads Conv2dInputGrad::vjp(const Vjp& v) const {
  Grads out(static_cast<std::size_t>(v.count()));
  const Tensor h = v.needs(0) || v.needs(1) ? to(v.grad, v.input(v.needs(0) ? 1 : 0).dtype()) : v.grad;
  if (v.needs(0)) out[0] = record(Conv2d{options}, {h, v.input(1)});
  if (v.needs(1))
    out[1] = record(Conv2dWeightGrad{options, Pair(v.spec(1).shape[2], v.spec(1).shape[3])}, {h, v.input(0)});
  if (v.count() > 2) out[2] = bias_grad(v);
  return out;
}

TensorSpec Conv2dWeightGrad::infer(Inputs x) const {
  require_images(name, x);
  const Tensor &in = x[0], &g = x[1];
  if (in.rank() != 4 || g.rank() != 4 || options.groups < 1 || in.size(1) % options.groups != 0)
    fail<ShapeError>(name, ": expected x [n, in, h, w] and g [n, out, oh, ow]; got ", in.spec(), " and ",
                     g.spec());
  const ConvShape s =
      conv_shape(name, options, in.shape(), {g.size(1), in.size(1) / options.groups, kernel.h, kernel.w});
  if (g.shape() != s.y()) fail<ShapeError>(name, ": expected g ", s.y(), "; got ", g.spec());
  return {s.weight(), in.dtype(), in.device()};
}

// With a cotangent h of the result, which stands for the weight in the trilinear form: the gradient
// of x is that for the weight h, the gradient of g is conv2d(x, h).
Grads Conv2dWeightGrad::vjp(const Vjp& v) const {
  Grads out(2);
  if (v.needs(0))
    out[0] =
        record(Conv2dInputGrad{options, Pair(v.spec(0).shape[2], v.spec(0).shape[3])}, {v.input(1), v.grad});
  if (v.needs(1)) out[1] = record(Conv2d{options}, {v.input(0), v.grad});
  return out;
}

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& o,
              Activation activation) {
  return record_with_bias(Conv2d{o, activation}, x, weight, bias);
}

Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& o,
              Activation activation) {
  if (x.rank() != 3 || weight.rank() != 3)
    fail<ShapeError>("conv1d: expected x [n, in, length] and weight [out, in / groups, k]; got ", x.spec(),
                     " and ", weight.spec());
  const ConvOptions flat{{1, o.stride.w}, {0, o.padding.w}, {1, o.dilation.w}, o.groups};
  return squeeze(conv2d(unsqueeze(x, 2), unsqueeze(weight, 2), bias, flat, activation), 2);
}

Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& o,
                        Pair more) {
  constexpr std::string_view op = "conv_transpose2d";
  if (x.rank() != 4 || weight.rank() != 4)
    fail<ShapeError>(op, ": expected x [n, in, h, w] and weight [in, out / groups, kh, kw]; got ", x.spec(),
                     " and ", weight.spec());
  const auto fits = [](const Pair& p) {
    return std::min(p.h, p.w) >= -most_pixels && std::max(p.h, p.w) <= most_pixels;
  };
  if (!fits(o.stride) || !fits(o.padding) || !fits(o.dilation) ||
      std::max({x.size(2), x.size(3), weight.size(2), weight.size(3)}) > most_pixels)
    fail<ValueError>(op, ": sizes and options must be below 2^31; got ", x.spec(), " and ", weight.spec());
  if (more.h < 0 || more.w < 0 || (more.h >= o.stride.h && more.h >= o.dilation.h) ||
      (more.w >= o.stride.w && more.w >= o.dilation.w))
    fail<ValueError>(op, ": output_padding must be less than the stride or the dilation");
  const auto along = [](std::int64_t n, std::int64_t k, std::int64_t stride, std::int64_t pad,
                        std::int64_t dilation, std::int64_t extra) {
    return (n - 1) * stride - 2 * pad + dilation * (k - 1) + extra + 1;
  };
  const Pair size(along(x.size(2), weight.size(2), o.stride.h, o.padding.h, o.dilation.h, more.h),
                  along(x.size(3), weight.size(3), o.stride.w, o.padding.w, o.dilation.w, more.w));
  if (size.h < 1 || size.w < 1)
    fail<ShapeError>(op, ": nothing is left of ", x.spec(), " without its padding");
  const Tensor all[] = {x, weight, bias};
  if (o.groups < 1 || o.groups > most_pixels || weight.size(1) > most_pixels)
    fail<ShapeError>(op, ": channels do not fit ", o.groups, " groups; got weight ", weight.spec());
  require_bias(op, all, x.dtype(), weight.size(1) * o.groups);
  return record_with_bias(Conv2dInputGrad{o, size}, x, weight, bias);
}

}  // namespace bobbin
