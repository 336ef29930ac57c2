// Convolutions on a GPU: chooses between implicit GEMM and im2col, and adds the bias and the activation where
// the chosen kernel does not.
#include <bobbin/matmul.h>

#include <algorithm>

#include "core/cuda/backend.h"
#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"
#include "ops/check.h"
#include "ops/conv/cuda.h"

namespace bobbin {
namespace {

constexpr int threads = 256;

// y = activation(z + bias of the channel), where there is a bias, for n elements; `plane` of them are a
// channel of an image. y may be z. A thread computes `width` elements of one channel.
template<class Sum, class T, int width>
__global__ void __launch_bounds__(threads)
    add_bias(const Sum* z, const T* bias, T* y, unsigned plane, unsigned channels, std::int64_t n,
             Activation activation) {
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x) * width;
  if (i >= n) return;
  const std::int64_t planes = n >> 32 ? i / plane : static_cast<unsigned>(i) / plane;
  const Sum b = bias ? static_cast<Sum>(bias[static_cast<unsigned>(planes % channels)]) : Sum(0);
  auto from = *reinterpret_cast<const cuda::Pack<Sum, width>*>(z + i);
#pragma unroll
  for (int k = 0; k < width; ++k) from.v[k] += b;
  activate(from.v, activation);
  cuda::Pack<T, width> to;
#pragma unroll
  for (int k = 0; k < width; ++k) to.v[k] = T(from.v[k]);
  *reinterpret_cast<cuda::Pack<T, width>*>(y + i) = to;
}

// y = activation(z + bias), without the bias where it is undefined. z has the compute type of y's dtype.
void add_bias(std::string_view op, const Tensor& z, const Tensor& bias, Activation activation,
              const Tensor& y) {
  const std::int64_t n = y.numel(), channels = y.size(1), plane = n / (y.size(0) * channels);
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
    const auto run = [&]<int width>(std::integral_constant<int, width>) {
      cuda::launch(op, {.device = y.device(), .grid = cuda::blocks_for(n, threads * width), .block = threads},
                   add_bias<Sum, T, width>, z.raw<Sum>(), bias.raw<T>(), y.raw<T>(),
                   static_cast<unsigned>(plane), static_cast<unsigned>(channels), n, activation);
    };
    constexpr int pack = 16 / sizeof(Sum);
    plane % pack == 0 ? run(std::integral_constant<int, pack>{}) : run(std::integral_constant<int, 1>{});
  });
}

}  // namespace

bool cuda::can_be_implicit(const ConvShape& s, DType dtype) {
  constexpr std::int64_t most = 1 << 30, most_weights = 1 << 18;  // cuBLAS is faster for more weights
  const auto& o = s.options;
  return dtype == DType::f32 && !tf32_allowed() && !s.is_pointwise() && s.taps() > 0 && s.group_out() > 0 &&
         s.group_out() * s.taps() <= most_weights && o.groups < 1 << 16 &&
         std::max({s.n * s.output_positions(), s.n * s.h * s.w, s.in * s.h * s.w,
                   s.out * s.output_positions(), s.out * s.taps(),
                   s.n * (s.h + 2 * o.padding.h + s.kh * o.dilation.h),
                   (s.w + 2 * o.padding.w + s.kw * o.dilation.w) * 512}) < most;
}

void Conv2d::cuda(Inputs x, Tensor& y) const {
  if (y.numel() == 0) return;
  const ConvShape s = conv_shape(name, options, x[0].shape(), x[1].shape());
  const Tensor &in = x[0], &weight = x[1], bias = bias_of(x);
  const bool relu = activation == Activation::relu;
  if (!wide && cuda::implicit_forward(name, s, in, weight, bias, relu, y))
    return is_relu_or_none(activation) ? void() : add_bias(name, y, {}, activation, y);
  // Sums are rounded to y's dtype once, after the bias and the activation.
  const bool more = bias || activation != Activation::none;
  const Tensor z = more && compute_type(y.dtype()) != y.dtype()
                       ? empty(y.shape(), compute_type(y.dtype()), y.device())
                       : y;
  s.taps() == 0 ? cuda::fill_elements(z, 0) : cuda::im2col_forward(name, s, in, weight, z);
  if (more) add_bias(name, z, bias, activation, y);
}

std::optional<Grads> Conv2d::fused_vjp_cuda(const Vjp& v) const {
  if (wide || !is_relu_or_none(activation) || !v.needs(1)) return {};
  const ConvShape s = conv_shape(name, options, v.spec(0).shape, v.spec(1).shape);
  if (!cuda::can_be_implicit(s, v.grad.dtype())) return {};

  Grads out = v.empty_grads();
  const Conv2dBackwardInputs in(v, activation);
  const Tensor bias = v.count() > 2 ? out[2] : Tensor();
  if (v.needs(0) && !cuda::implicit_input_grad(name, s, in.g, in.gate, in.weight, {}, out[0])) return {};
  if (!cuda::implicit_weight_grad(name, s, in.x, in.g, in.gate, out[1], bias)) return {};
  return out;
}

void Conv2dInputGrad::cuda(Inputs x, Tensor& y) const {
  if (y.numel() == 0) return;
  const Tensor &g = x[0], &weight = x[1], bias = bias_of(x);
  const ConvShape s = conv_shape(name, options, y.shape(), weight.shape());
  if (!wide && cuda::implicit_input_grad(name, s, g, {}, weight, bias, y)) return;
  if (s.group_out() > 0 && !s.is_pointwise()) return cuda::im2col_input_grad(name, s, g, weight, bias, y);
  // Pointwise: sums are rounded to y's dtype once, after the bias.
  const DType summed = bias ? compute_type(y.dtype()) : y.dtype();
  const Tensor z = summed != y.dtype() ? empty(y.shape(), summed, y.device()) : y;
  s.group_out() == 0 ? cuda::fill_elements(z, 0) : cuda::im2col_input_grad(name, s, g, weight, {}, z);
  if (bias) add_bias(name, z, bias, Activation::none, y);
}

void Conv2dWeightGrad::cuda(Inputs x, Tensor& y) const {
  if (y.numel() == 0) return;
  const Tensor &in = x[0], &g = x[1];
  const ConvShape s = conv_shape(name, options, in.shape(), y.shape());
  if (s.n == 0) return cuda::fill_elements(y, 0);
  if (!cuda::implicit_weight_grad(name, s, in, g, {}, y, {})) cuda::im2col_weight_grad(name, s, in, g, y);
}

}  // namespace bobbin
