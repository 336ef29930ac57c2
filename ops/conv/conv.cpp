#include <bobbin/ops.h>

#include <algorithm>

#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/conv/columns.h"
#include "ops/conv/cuda.h"
#include "ops/conv/parts.h"
#include "ops/conv/shift.h"
#include "ops/cpu/gemm.h"
#include "ops/matmul/matmul.h"

namespace bobbin {
namespace {

template<class T>
void activate(const ConvPart<T>& p, Activation activation, const Tensor& y) {
  if (activation == Activation::none) return;
  T* const part = p.y(y);
  const std::int64_t n = p.s.group_out() * p.s.places();
  visit_activation(activation, [&](auto f) { std::transform(part, part + n, part, f); });
}

template<class T>
void forward(const ConvShape& s, Activation activation, const Tensor& x, const Tensor& weight,
             const Tensor& bias, const Tensor& y) {
  if (s.is_shift()) {
    const bool relu = activation == Activation::relu;
    shift_forward<T>(s, x, weight, bias, relu, y);
    if (!relu) each_part<T>(s, [&](const ConvPart<T>& p) { activate(p, activation, y); });
    return;
  }
  each_part<T>(s, [&](const ConvPart<T>& p) {
    const T* columns = p.x(x);
    Tensor scratch;
    if (!s.is_product()) {
      scratch = empty({s.window(), s.places()}, x.dtype());
      to_columns(s, p.x(x), scratch.raw<T>());
      columns = scratch.raw<T>();
    }
    gemm<T>({p.weight(weight), s.group_out(), s.window(), s.window()},
            {columns, s.window(), s.places(), s.places()}, p.y(y));
    p.add_bias_to_y(bias, y);
    activate(p, activation, y);
  });
}

template<class T>
void input_grad(const ConvShape& s, const Tensor& g, const Tensor& weight, const Tensor& bias,
                const Tensor& x) {
  if (s.is_shift()) return shift_input_grad<T>(s, g, {}, weight, bias, x);
  each_part<T>(s, [&](const ConvPart<T>& p) {
    const Matrix<T> w{p.weight(weight), s.window(), s.group_out(), s.window(), true},
        gradient{p.y(g), s.group_out(), s.places(), s.places()};
    if (s.is_product()) {
      gemm<T>(w, gradient, p.x(x));
    } else {
      const Tensor columns = empty({s.window(), s.places()}, g.dtype());
      gemm<T>(w, gradient, columns.raw<T>());
      add_columns(s, columns.raw<T>(), p.x(x));
    }
    p.add_bias_to_x(bias, x);
  });
}

template<class T>
void weight_grad(const ConvShape& s, const Tensor& x, const Tensor& g, const Tensor& weight) {
  if (s.is_shift()) return shift_weight_grad<T>(s, x, g, {}, weight, {});
  sum_weight_grads<T>(s, weight, {}, [&](std::int64_t first, std::int64_t last, std::int64_t group, T* sum) {
    const std::int64_t size = s.group_out() * s.window();
    const Tensor columns = empty({s.window(), s.places()}, x.dtype()), product = empty({size}, x.dtype());
    for (std::int64_t n = first; n < last; ++n) {
      const ConvPart<T> p{s, n, group};
      const T* matrix = p.x(x);
      if (!s.is_product()) {
        to_columns(s, p.x(x), columns.raw<T>());
        matrix = columns.raw<T>();
      }
      gemm<T>({p.y(g), s.group_out(), s.places(), s.places()},
              {matrix, s.places(), s.window(), s.places(), true}, product.raw<T>());
      for (std::int64_t k = 0; k < size; ++k) sum[k] += product.raw<T>()[k];
    }
  });
}

// f<float or double>(a, b, bias, out), in the type that is computed in.
template<class F>
void compute(Inputs x, Tensor& y, F&& f) {
  if (y.numel() == 0) return;
  const DType type = compute_type(y.dtype());
  const Tensor a = row_major(x[0], type), b = row_major(x[1], type), bias = row_major(bias_of(x), type);
  in_compute_type(y, [&](const Tensor& out) {
    type == DType::f64 ? f(Type<double>{}, a, b, bias, out) : f(Type<float>{}, a, b, bias, out);
  });
}

void require_images(std::string_view op, Inputs x) {
  require_floating(op, x[0]);
  require_same_dtype(op, x[0], x[1]);
}

// The gradient of a bias, where there is one that needs it.
Tensor bias_grad(const Vjp& v, const Tensor& g) { return v.needs(2) ? sum(g, {0, 2, 3}) : Tensor(); }
Tensor bias_grad(const Vjp& v) { return bias_grad(v, v.grad); }

}  // namespace

bool ConvShape::is_product() const {
  return kh == 1 && kw == 1 && options.stride == Pair(1) && options.padding == Pair(0);
}

bool ConvShape::is_shift() const { return options.stride == Pair(1) && !is_product(); }

ConvShape conv_shape(std::string_view op, const ConvOptions& o, const Shape& x, const Shape& weight) {
  const auto bad = [&](const auto&... what) {
    fail<ShapeError>(op, ": ", what..., "; got x ", x, " and weight ", weight);
  };
  if (x.size() != 4 || weight.size() != 4)
    bad("expected x [n, in, h, w] and weight [out, in / groups, kh, kw]");
  if (o.groups < 1 || x[1] != weight[1] * o.groups || weight[0] % o.groups != 0)
    bad("channels do not fit ", o.groups, o.groups == 1 ? " group" : " groups");
  if (o.stride.h < 1 || o.stride.w < 1 || o.dilation.h < 1 || o.dilation.w < 1 || o.padding.h < 0 ||
      o.padding.w < 0)
    fail<ValueError>(op, ": expected stride and dilation of at least 1, and padding of at least 0");
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

void require_bias(std::string_view op, Inputs x, std::int64_t channels) {
  const Tensor bias = bias_of(x);
  if (!bias) return;
  require_same_dtype(op, x[0], bias);
  if (bias.rank() != 1 || bias.size(0) != channels)
    fail<ShapeError>(op, ": expected a bias [", channels, "]; got ", bias.spec());
}

TensorSpec Conv2d::infer(Inputs x) const {
  require_images(name, x);
  const ConvShape s = conv_shape(name, options, x[0].shape(), x[1].shape());
  require_bias(name, x, s.out);
  return {s.y(), x[0].dtype(), x[0].device()};
}

void Conv2d::cpu(Inputs x, Tensor& y) const {
  const ConvShape s = conv_shape(name, options, x[0].shape(), x[1].shape());
  compute(x, y, [&]<class T>(Type<T>, auto&... t) { forward<T>(s, activation, t...); });
}

Tensor Conv2d::before_activation(const Vjp& v) const {
  return bobbin::before_activation(v, activation, [&] {
    return conv2d(v.input(0), v.input(1), v.count() > 2 ? v.input(2) : Tensor(), options);
  });
}

Grads Conv2d::vjp(const Vjp& v) const {
  if (const auto grads = fused_vjp(v)) return *grads;
  Grads out(static_cast<std::size_t>(v.count()));
  const Tensor g = before_activation(v);
  const auto size = [&](int i) { return Pair(v.spec(i).shape[2], v.spec(i).shape[3]); };
  if (v.needs(0)) out[0] = record(Conv2dInputGrad{options, size(0)}, {g, v.input(1)});
  if (v.needs(1)) out[1] = record(Conv2dWeightGrad{options, size(1)}, {v.input(0), g});
  if (v.count() > 2) out[2] = bias_grad(v, g);
  return out;
}

std::optional<Grads> Conv2d::fused_vjp(const Vjp& v) const {
  const bool relu = activation == Activation::relu, on_gpu = v.grad.device().is_cuda();
  const DType type = v.grad.dtype();
  if (grad_enabled() || v.grad.numel() == 0 || (!relu && activation != Activation::none) || !v.needs(1))
    return {};
  const ConvShape s = conv_shape(name, options, v.spec(0).shape, v.spec(1).shape);
  if (!on_gpu && (compute_type(type) != type || !s.is_shift())) return {};
#if BOBBIN_HAS_CUDA
  if (on_gpu && !cuda::can_be_implicit(s, type)) return {};
#endif

  Grads out(static_cast<std::size_t>(v.count()));
  for (int i = 0; i < v.count(); ++i)
    if (v.needs(i)) out[static_cast<std::size_t>(i)] = empty(v.spec(i));
  const Tensor x = row_major(v.input(0)), g = row_major(v.grad), gate = relu ? v.output() : Tensor(),
               weight = v.needs(0) ? row_major(v.input(1)) : Tensor(),
               bias = v.count() > 2 ? out[2] : Tensor();
#if BOBBIN_HAS_CUDA
  if (on_gpu) {
    if (v.needs(0) && !cuda::implicit_input_grad(name, s, g, gate, weight, {}, out[0])) return {};
    if (!cuda::implicit_weight_grad(name, s, x, g, gate, out[1], bias)) return {};
    return out;
  }
#endif
  const auto run = [&]<class T>(Type<T>) {
    if (v.needs(0)) shift_input_grad<T>(s, g, gate, weight, {}, out[0]);
    shift_weight_grad<T>(s, x, g, gate, out[1], bias);
  };
  type == DType::f64 ? run(Type<double>{}) : run(Type<float>{});
  return out;
}

TensorSpec Conv2dInputGrad::infer(Inputs x) const {
  require_images(name, x);
  const Tensor &g = x[0], &weight = x[1];
  if (g.rank() != 4 || weight.rank() != 4)
    fail<ShapeError>(name, ": expected g [n, out, oh, ow] and weight [out, in / groups, kh, kw]; got ",
                     g.spec(), " and ", weight.spec());
  const ConvShape s =
      conv_shape(name, options, {g.size(0), weight.size(1) * options.groups, size.h, size.w}, weight.shape());
  if (g.shape() != s.y())
    fail<ShapeError>(name, ": expected g ", s.y(), " for images of ", size.h, " x ", size.w, "; got ",
                     g.spec());
  require_bias(name, x, s.in);
  return {s.x(), g.dtype(), g.device()};
}

void Conv2dInputGrad::cpu(Inputs x, Tensor& y) const {
  const ConvShape s = conv_shape(name, options, y.shape(), x[1].shape());
  compute(x, y, [&]<class T>(Type<T>, auto&... t) { input_grad<T>(s, t...); });
}

// With a cotangent h of the gradient: for g conv2d(h, weight), for the weight as for x = h.
Grads Conv2dInputGrad::vjp(const Vjp& v) const {
  Grads out(static_cast<std::size_t>(v.count()));
  if (v.needs(0)) out[0] = record(Conv2d{options}, {v.grad, v.input(1)});
  if (v.needs(1))
    out[1] =
        record(Conv2dWeightGrad{options, Pair(v.spec(1).shape[2], v.spec(1).shape[3])}, {v.grad, v.input(0)});
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

void Conv2dWeightGrad::cpu(Inputs x, Tensor& y) const {
  const ConvShape s = conv_shape(name, options, x[0].shape(), y.shape());
  compute(x, y,
          [&]<class T>(Type<T>, auto& in, auto& g, auto&, auto& out) { weight_grad<T>(s, in, g, out); });
}

// With a cotangent h of the gradient: for x as with the weight h, for g conv2d(x, h).
Grads Conv2dWeightGrad::vjp(const Vjp& v) const {
  Grads out(2);
  if (v.needs(0))
    out[0] =
        record(Conv2dInputGrad{options, Pair(v.spec(0).shape[2], v.spec(0).shape[3])}, {v.input(1), v.grad});
  if (v.needs(1)) out[1] = record(Conv2d{options}, {v.input(0), v.grad});
  return out;
}

}  // namespace bobbin
