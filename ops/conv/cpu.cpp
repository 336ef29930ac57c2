// The convolutions on the CPU: matrix products over im2col columns, or the direct convolutions of cpu.h.
#include "ops/conv/cpu.h"

#include <algorithm>

#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/cpu/compute_type.h"
#include "ops/cpu/gemm.h"

namespace bobbin {
namespace {

// The im2col matrix of one channel has a row for each kernel tap and a column for each output position.
// Calls f(to, pixel, first, last) for each row of outputs of each tap: the row's `ow` elements begin at
// element `to` of the matrix. Element i of [first, last) comes from pixel + i * stride.w of the channel; the
// others are padding.
template<class F>
void each_im2col_row(const ConvShape& s, F&& f) {
  const auto& [stride, padding, dilation, groups] = s.options;
  for (std::int64_t ky = 0, tap = 0; ky < s.kh; ++ky)
    for (std::int64_t kx = 0; kx < s.kw; ++kx, ++tap) {
      const std::int64_t left = kx * dilation.w - padding.w;
      // Outputs whose pixel is in the image: ox stride + left in [0, w).
      const std::int64_t first = std::clamp<std::int64_t>(ceil_div(-left, stride.w), 0, s.ow);
      const std::int64_t last =
          std::clamp<std::int64_t>(s.w - left <= 0 ? 0 : ceil_div(s.w - left, stride.w), first, s.ow);
      for (std::int64_t oy = 0; oy < s.oh; ++oy) {
        const std::int64_t y = oy * stride.h + ky * dilation.h - padding.h,
                           to = tap * s.output_positions() + oy * s.ow;
        if (y < 0 || y >= s.h)
          f(to, std::int64_t{0}, std::int64_t{0}, std::int64_t{0});
        else
          f(to, y * s.w + left, first, last);
      }
    }
}

// columns [taps, output positions] of one group of channels.
template<class T>
void im2col(const ConvShape& s, const T* image, T* columns) {
  for (std::int64_t c = 0; c < s.group_in(); ++c, image += s.h * s.w)
    each_im2col_row(s, [&](std::int64_t to, std::int64_t pixel, std::int64_t first, std::int64_t last) {
      T* const out = columns + c * s.kh * s.kw * s.output_positions() + to;
      std::fill(out, out + first, T(0));
      if (s.options.stride.w == 1)
        std::copy(image + (pixel + first), image + (pixel + last), out + first);
      else
        for (std::int64_t i = first; i < last; ++i) out[i] = image[pixel + i * s.options.stride.w];
      std::fill(out + last, out + s.ow, T(0));
    });
}

// The transpose of im2col: each pixel is the sum of the elements that im2col copies it to.
template<class T>
void col2im(const ConvShape& s, const T* columns, T* image) {
  std::fill(image, image + s.group_in() * s.h * s.w, T(0));
  for (std::int64_t c = 0; c < s.group_in(); ++c, image += s.h * s.w)
    each_im2col_row(s, [&](std::int64_t to, std::int64_t pixel, std::int64_t first, std::int64_t last) {
      const T* const in = columns + c * s.kh * s.kw * s.output_positions() + to;
      for (std::int64_t i = first; i < last; ++i) image[pixel + i * s.options.stride.w] += in[i];
    });
}

// Memory for the im2col columns of one group; undefined where the image itself is its matrix of columns.
Tensor column_buffer(const ConvShape& s, DType dtype) {
  return s.is_pointwise() ? Tensor() : empty({s.taps(), s.output_positions()}, dtype);
}

// The columns of a group of x: in `buffer`, where that is defined.
template<class T>
const T* columns_of(const ConvGroup<T>& p, const Tensor& x, const Tensor& buffer) {
  if (!buffer) return p.x(x);
  im2col(p.s, p.x(x), buffer.raw<T>());
  return buffer.raw<T>();
}

template<class T>
void activate(const ConvGroup<T>& p, Activation activation, const Tensor& y) {
  if (activation == Activation::none) return;
  T* const first = p.y(y);
  T* const last = first + p.s.group_out() * p.s.output_positions();
  visit_activation(activation, [&](auto f) { std::transform(first, last, first, f); });
}

template<class T>
void forward(const ConvShape& s, Activation activation, const Tensor& x, const Tensor& weight,
             const Tensor& bias, const Tensor& y) {
  const bool direct = s.is_direct(), relu = direct && activation == Activation::relu;
  if (direct)
    direct_forward<T>(s, x, weight, bias, relu, y);
  else
    each_group<T>(s, [&](const ConvGroup<T>& p) {
      const Tensor buffer = column_buffer(s, x.dtype());
      gemm<T>({p.weight(weight), s.group_out(), s.taps(), s.taps()},
              {columns_of(p, x, buffer), s.taps(), s.output_positions(), s.output_positions()}, p.y(y));
      p.add_bias_to_y(bias, y);
    });
  if (s.is_padded() && !is_finite<T>(weight))
    replace_nan<T>(
        y, [&, all = ExistingProducts<T>{s, x.raw<T>(), weight.raw<T>(), nullptr}](std::int64_t i) {
          const double v = all.output(i) + (bias ? bias.raw<T>()[i / s.output_positions() % s.out] : T(0));
          return relu && v < 0 ? 0 : v;
        });
  if (!relu) each_group<T>(s, [&](const ConvGroup<T>& p) { activate(p, activation, y); });
}

template<class T>
void input_grad(const ConvShape& s, const Tensor& g, const Tensor& weight, const Tensor& bias,
                const Tensor& x) {
  if (s.is_direct()) return direct_input_grad<T>(s, g, {}, weight, bias, x);
  each_group<T>(s, [&](const ConvGroup<T>& p) {
    const Tensor columns = column_buffer(s, g.dtype());
    gemm<T>({p.weight(weight), s.taps(), s.group_out(), s.taps(), true},
            {p.y(g), s.group_out(), s.output_positions(), s.output_positions()},
            columns ? columns.raw<T>() : p.x(x));
    if (columns) col2im(s, columns.raw<T>(), p.x(x));
    p.add_bias_to_x(bias, x);
  });
}

template<class T>
void weight_grad(const ConvShape& s, const Tensor& x, const Tensor& g, const Tensor& weight) {
  if (s.is_direct()) return direct_weight_grad<T>(s, x, g, {}, weight, {});
  sum_weight_grads<T>(
      s, weight, {}, [&](std::int64_t first, std::int64_t last, std::int64_t group, double* sum) {
        const std::int64_t size = s.group_out() * s.taps();
        const Tensor buffer = column_buffer(s, x.dtype()), product = empty({size}, x.dtype());
        for (std::int64_t n = first; n < last; ++n) {
          const ConvGroup<T> p{s, n, group};
          gemm<T>({p.y(g), s.group_out(), s.output_positions(), s.output_positions()},
                  {columns_of(p, x, buffer), s.output_positions(), s.taps(), s.output_positions(), true},
                  product.raw<T>());
          for (std::int64_t k = 0; k < size; ++k) sum[k] += product.raw<T>()[k];
        }
      });
  if (s.is_padded())
    replace_nan<T>(weight, [&, all = ExistingProducts<T>{s, x.raw<T>(), nullptr, g.raw<T>()}](
                               std::int64_t i) { return all.weight_grad(i); });
}

// Calls f(Type<float or double>{}, a, b, bias, out) with row-major tensors of the type that is computed in.
template<class F>
void compute(Inputs x, Tensor& y, F&& f) {
  if (y.numel() == 0) return;
  const DType type = compute_type(y.dtype());
  const Tensor a = row_major(x[0], type), b = row_major(x[1], type), bias = row_major(bias_of(x), type);
  in_compute_type(y, [&](const Tensor& out) {
    type == DType::f64 ? f(Type<double>{}, a, b, bias, out) : f(Type<float>{}, a, b, bias, out);
  });
}

}  // namespace

void Conv2d::cpu(Inputs x, Tensor& y) const {
  const ConvShape s = conv_shape(name, options, x[0].shape(), x[1].shape());
  compute(x, y, [&]<class T>(Type<T>, auto&... t) { forward<T>(s, activation, t...); });
}

std::optional<Grads> Conv2d::fused_vjp_cpu(const Vjp& v) const {
  const DType type = v.grad.dtype();
  if (wide || !is_relu_or_none(activation) || !v.needs(1) || compute_type(type) != type) return {};
  const ConvShape s = conv_shape(name, options, v.spec(0).shape, v.spec(1).shape);
  if (!s.is_direct()) return {};

  Grads out = v.empty_grads();
  const Conv2dBackwardInputs in(v, activation);
  const Tensor bias = v.count() > 2 ? out[2] : Tensor();
  const auto run = [&]<class T>(Type<T>) {
    if (v.needs(0)) direct_input_grad<T>(s, in.g, in.gate, in.weight, {}, out[0]);
    direct_weight_grad<T>(s, in.x, in.g, in.gate, out[1], bias);
  };
  type == DType::f64 ? run(Type<double>{}) : run(Type<float>{});
  return out;
}

void Conv2dInputGrad::cpu(Inputs x, Tensor& y) const {
  const ConvShape s = conv_shape(name, options, y.shape(), x[1].shape());
  compute(x, y, [&]<class T>(Type<T>, auto&... t) { input_grad<T>(s, t...); });
}

void Conv2dWeightGrad::cpu(Inputs x, Tensor& y) const {
  const ConvShape s = conv_shape(name, options, x[0].shape(), y.shape());
  compute(x, y,
          [&]<class T>(Type<T>, auto& in, auto& g, auto&, auto& out) { weight_grad<T>(s, in, g, out); });
}

}  // namespace bobbin
