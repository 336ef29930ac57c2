// linear on a GPU: a product that adds the bias and applies relu as it writes. For what the product cannot
// do, one more kernel follows.
#include <bobbin/elementwise.h>
#include <bobbin/view.h>

#include "core/cuda/backend.h"
#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"
#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/elementwise/layer_activation.h"
#include "ops/matmul/blas.h"
#include "ops/matmul/linear.h"
#include "ops/matmul/long_product.h"

namespace bobbin {
namespace {

constexpr int threads = 256;

// y = activation(z + bias) for n elements in rows of `cols`, and sums = z + bias where `sums` is not null; z
// may be y or sums. All are aligned to 16 bytes.
template<class Z, class T>
__global__ void __launch_bounds__(threads) finish(const Z* z, const T* bias, cuda::Compute<T>* sums, T* y,
                                                  std::int64_t n, std::int64_t cols, Activation activation) {
  cuda::await_previous();
  constexpr int width = 16 / sizeof(T);
  const std::int64_t step = std::int64_t{gridDim.x} * threads * width;
  for (std::int64_t i = (std::int64_t{blockIdx.x} * threads + threadIdx.x) * width; i < n; i += step) {
    const bool whole = n - i >= width;
    cuda::Pack<Z, width> from{};
    if (whole)
      from = *reinterpret_cast<const cuda::Pack<Z, width>*>(z + i);
    else
      for (int k = 0; k < width; ++k)
        if (i + k < n) from.v[k] = z[i + k];

    cuda::Compute<T> v[width];
#pragma unroll
    for (int k = 0; k < width; ++k) v[k] = cuda::widen(from.v[k]);
    if (bias) {
      std::int64_t col = n >> 32 ? i % cols : static_cast<unsigned>(i) % static_cast<unsigned>(cols);
#pragma unroll
      for (int k = 0; k < width; ++k) {
        v[k] += cuda::widen(bias[col]);
        if (++col == cols) col = 0;
      }
    }
    if (sums)
      for (int k = 0; k < width; ++k)
        if (i + k < n) sums[i + k] = v[k];
    activate(v, activation);

    cuda::Pack<T, width> to;
#pragma unroll
    for (int k = 0; k < width; ++k) to.v[k] = cuda::narrow<T>(v[k]);
    if (whole)
      *reinterpret_cast<cuda::Pack<T, width>*>(y + i) = to;
    else
      for (int k = 0; k < width; ++k)
        if (i + k < n) y[i + k] = to.v[k];
  }
}

template<class Z, class T>
void launch_finish(const Tensor& z, const Tensor& bias, const Tensor& sums, const Tensor& y,
                   Activation activation) {
  const std::int64_t n = y.numel();
  cuda::launch(Linear::name,
               {.device = y.device(),
                .grid = cuda::blocks_for(n, threads * (16 / sizeof(T))),
                .block = threads,
                .early = true},
               finish<Z, T>, z.raw<Z>(), bias.raw<T>(), sums.raw<cuda::Compute<T>>(), y.raw<T>(), n,
               y.size(-1), activation);
}

void finish(const Tensor& z, const Tensor& bias, const Tensor& sums, const Tensor& y, Activation activation) {
  visit_some<double, BFloat16, Half, float>(y.dtype(), [&]<class T>(Type<T>) {
    if (z.dtype() == y.dtype())
      launch_finish<T, T>(z, bias, sums, y, activation);
    else
      launch_finish<cuda::Compute<T>, T>(z, bias, sums, y, activation);
  });
}

// The gradient of n sums z, from the gradient g of f(z). All are aligned to 16 bytes.
template<class T, class F>
__global__ void __launch_bounds__(threads)
    differentiate(const T* g, const cuda::Compute<T>* z, T* out, std::int64_t n, F f) {
  cuda::await_previous();
  constexpr int width = 16 / sizeof(T);
  const std::int64_t step = std::int64_t{gridDim.x} * threads * width;
  for (std::int64_t i = (std::int64_t{blockIdx.x} * threads + threadIdx.x) * width; i < n; i += step) {
    if (n - i >= width) {
      auto v = *reinterpret_cast<const cuda::Pack<T>*>(g + i);
      const auto sum = *reinterpret_cast<const cuda::Pack<cuda::Compute<T>, width>*>(z + i);
#pragma unroll
      for (int k = 0; k < width; ++k) v.v[k] = cuda::narrow<T>(f.derivative(cuda::widen(v.v[k]), sum.v[k]));
      *reinterpret_cast<cuda::Pack<T>*>(out + i) = v;
    } else {
      for (std::int64_t k = i; k < n; ++k) out[k] = cuda::narrow<T>(f.derivative(cuda::widen(g[k]), z[k]));
    }
  }
}

}  // namespace

Tensor Linear::sums_gradient_cuda(const Tensor& grad, const Tensor& sums) const {
  const Tensor rows = row_major(grad), g = cuda::is_aligned(rows.raw()) ? rows : clone(rows);
  const Tensor out = empty(g.spec());
  const std::int64_t n = g.numel();
  visit_some<double, BFloat16, Half, float>(g.dtype(), [&]<class T>(Type<T>) {
    const auto enqueue = [&](auto f) {
      cuda::launch(name,
                   {.device = g.device(),
                    .grid = cuda::blocks_for(n, threads * (16 / sizeof(T))),
                    .block = threads,
                    .early = true},
                   differentiate<T, decltype(f)>, g.raw<T>(), sums.raw<cuda::Compute<T>>(), out.raw<T>(), n,
                   f);
    };
    activation == Activation::gelu ? enqueue(fn::GeluErf{}) : enqueue(fn::Silu{});
  });
  return out;
}

void Linear::cuda(Inputs x, Tensor& y, std::span<Tensor> aux) const {
  if (y.numel() == 0) return;
  const Tensor &weight = x[1], bias = x[2] ? to(x[2], y.dtype()) : Tensor();
  const std::int64_t out = weight.size(0), in = weight.size(1);
  cuda::Gemm p{.rows = y.numel() / out,
               .cols = out,
               .inner = in,
               .a = {x[0].raw(), in},
               .b = {weight.raw(), in, true},
               .y = y.raw(),
               .y_stride = out,
               .dtype = x[0].dtype(),
               .y_dtype = y.dtype(),
               .tf32 = tf32_allowed()};
  // relu may come after rounding to 16 bits: the result is the same.
  const bool relu = activation == Activation::relu;
  const bool is_long = cuda::is_long_product(x[0].dtype(), tf32_allowed(), in);
  if (in > 0 && !is_long && is_relu_or_none(activation)) {
    p.bias = bias.raw();
    p.relu = relu;
    if (cuda::multiply(name, y.device(), p)) return;
    p.relu = false;
    if (cuda::multiply(name, y.device(), p)) return relu ? finish(y, {}, {}, y, activation) : void();
  }
  // The other activations need the sum before it is rounded.
  const DType compute = compute_type(y.dtype());
  const Tensor z = !aux.empty()           ? aux[0]
                   : compute == y.dtype() ? y
                                          : empty(y.shape(), compute, y.device()),
               wide_bias = bias ? to(bias, compute) : Tensor();
  p.y = z.raw();
  p.y_dtype = compute;
  p.bias = wide_bias.raw();
  if (bias && in > 0 && !is_long && cuda::multiply(name, y.device(), p))
    return finish(z, {}, {}, y, activation);
  p.bias = nullptr;
  if (is_long)
    cuda::multiply_long(name, p, z);
  else
    in > 0 ? void(cuda::multiply(name, y.device(), p)) : cuda::fill_elements(z, 0);
  finish(z, bias, bias && !aux.empty() ? z : Tensor(), y, activation);
}

std::optional<Grads> Linear::fused_vjp_cuda(const Vjp& v) const {
  if (wide || (v.needs(2) && !v.needs(1))) return {};
  const bool relu = activation == Activation::relu;
  const std::int64_t out = v.grad.size(-1), rows = v.grad.numel() / out;
  const std::int64_t in = v.needs(1) ? v.input(0).size(-1) : v.input(1).size(-1);
  if (in == 0) return {};
  const auto is_long = [&](std::int64_t n) {
    return cuda::is_long_product(v.grad.dtype(), tf32_allowed(), n);
  };
  if ((v.needs(0) && is_long(out)) || (v.needs(1) && is_long(rows))) return {};

  Grads grads = v.empty_grads();
  Tensor g = row_major(is_relu_or_none(activation) ? v.grad : sums_gradient(v)),
         gate = relu ? v.output() : Tensor();
  const Tensor x = v.needs(1) ? row_major(v.input(0)) : Tensor(),
               weight = v.needs(0) ? row_major(v.input(1)) : Tensor();
  const auto product = [&](std::size_t i) {
    const bool to_x = i == 0;
    return cuda::Gemm{.rows = to_x ? rows : out,
                      .cols = in,
                      .inner = to_x ? out : rows,
                      .a = {g.raw(), out, !to_x, 0, gate.raw()},
                      .b = {(to_x ? weight : x).raw(), in},
                      .y = grads[i].raw(),
                      .y_stride = in,
                      .dtype = g.dtype(),
                      .y_dtype = g.dtype(),
                      .tf32 = tf32_allowed(),
                      .row_sums = to_x ? nullptr : grads[2].raw()};
  };
  std::vector<cuda::Gemm> products;
  for (const std::size_t i : {1, 0})
    if (grads[i]) products.push_back(product(i));
  if (cuda::multiply_small(name, g.device(), products)) return grads;

  if (relu) {
    g = sums_gradient(v);
    gate = {};
  }
  for (const std::size_t i : {1, 0})
    if (grads[i] && !cuda::multiply(name, g.device(), product(i))) return {};
  return grads;
}

}  // namespace bobbin
