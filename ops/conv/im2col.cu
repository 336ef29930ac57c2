// Convolutions on a GPU as products of im2col columns, which cuBLASLt computes for as many images at a time
// as a workspace holds. Kernels here copy images to columns, and sum columns to gradients of images.
#include <bobbin/elementwise.h>
#include <bobbin/matmul.h>
#include <bobbin/reduce.h>
#include <bobbin/tape.h>
#include <bobbin/view.h>

#include <algorithm>
#include <limits>

#include "core/ceil_div.h"
#include "core/cuda/backend.h"
#include "core/cuda/runtime.h"
#include "core/cuda/strided.cuh"
#include "ops/check.h"
#include "ops/conv/cuda.h"
#include "ops/conv/existing_products.h"
#include "ops/matmul/blas.h"
#include "ops/matmul/long_product.h"

namespace bobbin::cuda {
namespace {

constexpr int threads = 256;
constexpr std::int64_t workspace = std::int64_t{1} << 25;  // bytes of columns, which stay in the L2 cache

// The sizes of a convolution, of all groups together, as kernels need them.
struct Sizes {
  int in, h, w, kh, kw, oh, ow;
  int stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  Divider by_positions, by_ow, by_pixels, by_w, by_stride_h, by_stride_w;

  Sizes(std::string_view op, const ConvShape& s)
      : in(static_cast<int>(s.in)),
        h(static_cast<int>(s.h)),
        w(static_cast<int>(s.w)),
        kh(static_cast<int>(s.kh)),
        kw(static_cast<int>(s.kw)),
        oh(static_cast<int>(s.oh)),
        ow(static_cast<int>(s.ow)),
        stride_h(static_cast<int>(s.options.stride.h)),
        stride_w(static_cast<int>(s.options.stride.w)),
        pad_h(static_cast<int>(s.options.padding.h)),
        pad_w(static_cast<int>(s.options.padding.w)),
        dilation_h(static_cast<int>(s.options.dilation.h)),
        dilation_w(static_cast<int>(s.options.dilation.w)),
        by_positions(static_cast<std::uint32_t>(s.output_positions())),
        by_ow(static_cast<std::uint32_t>(s.ow)),
        by_pixels(static_cast<std::uint32_t>(s.h * s.w)),
        by_w(static_cast<std::uint32_t>(s.w)),
        by_stride_h(static_cast<std::uint32_t>(stride_h)),
        by_stride_w(static_cast<std::uint32_t>(stride_w)) {
    constexpr std::int64_t most = std::numeric_limits<int>::max();
    if (std::max({s.in, s.h * s.w, s.kh * s.kw * s.output_positions(), s.options.stride.h, s.options.stride.w,
                  s.options.padding.h, s.options.padding.w, s.h + s.kh * s.options.dilation.h,
                  s.w + s.kw * s.options.dilation.w}) > most)
      fail<ShapeError>(op, ": windows and images of 2^31 elements or more do not run on a GPU");
  }
  /// i / by.d.
  static __device__ std::int64_t quotient(std::int64_t i, const Divider& by) {
    return i >> 32 ? i / by.d : by(static_cast<std::uint32_t>(i));
  }
  static __device__ int quotient(int i, const Divider& by) {
    return static_cast<int>(by(static_cast<std::uint32_t>(i)));
  }
};

// columns [images, channels, kh, kw, oh, ow] of x [images, channels, h, w]. Thread i copies all kernel taps
// of output position i, counted through images and channels.
template<class T>
__global__ void __launch_bounds__(threads) im2col(const Sizes s, const T* x, T* columns, std::int64_t n) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= n) return;
  const int positions = s.oh * s.ow;
  const std::int64_t channel = Sizes::quotient(i, s.by_positions);  // of all images
  const int position = static_cast<int>(i - channel * positions), oy = Sizes::quotient(position, s.by_ow);
  const int y0 = oy * s.stride_h - s.pad_h, x0 = (position - oy * s.ow) * s.stride_w - s.pad_w;
  const T* const from = x + channel * s.h * s.w;
  T* to = columns + channel * s.kh * s.kw * positions + position;
  for (int ky = 0; ky < s.kh; ++ky)
    for (int kx = 0; kx < s.kw; ++kx, to += positions) {
      const int row = y0 + ky * s.dilation_h, column = x0 + kx * s.dilation_w;
      const bool inside = row >= 0 && row < s.h && column >= 0 && column < s.w;
      *to = inside ? from[row * s.w + column] : T(0.f);
    }
}

// The transpose of im2col; adds a bias to each channel if there is one. Thread i sums all elements to which
// im2col copies pixel i (counted over images and channels), so no atomics are needed.
template<class Sum, class T>
__global__ void __launch_bounds__(threads)
    col2im(const Sizes s, const Sum* columns, const T* bias, T* x, std::int64_t n) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= n) return;
  const std::int64_t channel = Sizes::quotient(i, s.by_pixels);
  const int pixel = static_cast<int>(i - channel * s.h * s.w), row = Sizes::quotient(pixel, s.by_w),
            column = pixel - row * s.w;
  const int positions = s.oh * s.ow;
  const Sum* const from = columns + channel * s.kh * s.kw * positions;
  Sum sum = 0;
  for (int ky = 0; ky < s.kh; ++ky) {
    const int top = row + s.pad_h - ky * s.dilation_h, oy = Sizes::quotient(top, s.by_stride_h);
    if (top < 0 || oy >= s.oh || oy * s.stride_h != top) continue;
    for (int kx = 0; kx < s.kw; ++kx) {
      const int left = column + s.pad_w - kx * s.dilation_w, ox = Sizes::quotient(left, s.by_stride_w);
      if (left < 0 || ox >= s.ow || ox * s.stride_w != left) continue;
      sum += from[(ky * s.kw + kx) * positions + oy * s.ow + ox];
    }
  }
  x[i] = T(bias ? sum + static_cast<Sum>(bias[channel % s.in]) : sum);
}

// Computes the sums of a channel that padding made NaN from their definition. Block i has output channel i;
// it reads the channel's weights, and y only if one of them is not finite.
template<class Sum, class T>
__global__ void __launch_bounds__(threads)
    replace_nan(const __grid_constant__ ExistingProducts<T> definition, Sum* y) {
  const ConvShape& s = definition.s;
  const std::int64_t channel = blockIdx.x, taps = s.in / s.options.groups * s.kh * s.kw,
                     positions = s.oh * s.ow;
  bool special = false;
  for (std::int64_t k = threadIdx.x; k < taps; k += threads)
    special |= !isfinite(static_cast<double>(definition.weight[channel * taps + k]));
  if (!__syncthreads_or(special)) return;
  for (std::int64_t k = threadIdx.x; k < s.n * positions; k += threads)
    if (const std::int64_t i = (k / positions * s.out + channel) * positions + k % positions; y[i] != y[i])
      y[i] = Sum(definition.output(i));
}

// The gradient of the weight, rounded to T; sums that padding made NaN are computed from their definition.
template<class Sum, class T>
__global__ void __launch_bounds__(threads)
    store_weight(const Sum* sums, const __grid_constant__ ExistingProducts<T> definition, T* weight,
                 std::int64_t n) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= n) return;
  const Sum sum = sums[i];
  weight[i] = T(sum != sum ? Sum(definition.weight_grad(i)) : sum);
}

// A pointer to element `i` of t.
void* at(const Tensor& t, std::int64_t i) { return t.raw<char>() + i * size_of(t.dtype()); }

// Some images of the batch: [first, first + count).
struct Batch {
  std::int64_t first, count;
};

// Calls f(Batch) for all images, in batches of about equal size whose columns fit the workspace.
template<class F>
void each_batch(const ConvShape& s, DType dtype, F&& f) {
  const std::int64_t image = s.in * s.kh * s.kw * s.output_positions() * size_of(dtype);
  const std::int64_t batches =
      s.is_pointwise() ? 1 : std::clamp<std::int64_t>(s.n * image / workspace + 1, 1, s.n);
  const std::int64_t count = ceil_div(s.n, batches);
  for (std::int64_t first = 0; first < s.n; first += count) f(Batch{first, std::min(count, s.n - first)});
}

// Memory for a batch's columns; undefined for a pointwise convolution, whose columns are the images.
Tensor empty_columns(const ConvShape& s, const Batch& b, DType dtype, Device device) {
  if (s.is_pointwise()) return {};
  return empty({b.count, s.in * s.kh * s.kw, s.output_positions()}, dtype, device);
}

// The columns of a batch of x; undefined for a pointwise convolution.
Tensor columns_of(std::string_view op, const ConvShape& s, const Tensor& x, const Batch& b) {
  Tensor columns = empty_columns(s, b, x.dtype(), x.device());
  const std::int64_t n = b.count * s.in * s.output_positions();
  if (columns)
    visit_floating(x.dtype(), [&]<class T>(Type<T>) {
      launch(op, {.device = x.device(), .grid = blocks_for(n, threads), .block = threads}, im2col<T>,
             Sizes(op, s), static_cast<const T*>(at(x, b.first * s.in * s.h * s.w)), columns.raw<T>(), n);
    });
  return columns;
}

// A group's operands of the products of a batch: the columns, or x where there are none; y or its cotangent;
// the weight.
void* group_columns(const ConvShape& s, const Tensor& columns, const Tensor& x, const Batch& b,
                    std::int64_t group) {
  return columns ? at(columns, group * s.taps() * s.output_positions())
                 : at(x, (b.first * s.in + group * s.group_in()) * s.output_positions());
}
void* group_output(const ConvShape& s, const Tensor& y, const Batch& b, std::int64_t group) {
  return at(y, (b.first * s.out + group * s.group_out()) * s.output_positions());
}
void* group_weight(const ConvShape& s, const Tensor& weight, std::int64_t group) {
  return at(weight, group * s.group_out() * s.taps());
}
// The distance between images, in elements of the columns and of y.
std::int64_t columns_step(const ConvShape& s) { return s.in * s.kh * s.kw * s.output_positions(); }
std::int64_t output_step(const ConvShape& s) { return s.out * s.output_positions(); }

}  // namespace

void im2col_forward(std::string_view op, const ConvShape& s, const Tensor& x, const Tensor& weight,
                    const Tensor& y) {
  each_batch(s, x.dtype(), [&](const Batch& b) {
    const Tensor columns = columns_of(op, s, x, b);
    for (std::int64_t group = 0; group < s.options.groups; ++group)
      multiply(op, y.device(),
               {.rows = s.group_out(),
                .cols = s.output_positions(),
                .inner = s.taps(),
                .a = {group_weight(s, weight, group), s.taps()},
                .b = {group_columns(s, columns, x, b, group), s.output_positions(), false, columns_step(s)},
                .y = group_output(s, y, b, group),
                .y_stride = s.output_positions(),
                .dtype = x.dtype(),
                .y_dtype = y.dtype(),
                .tf32 = tf32_allowed(),
                .batch = b.count,
                .y_next = output_step(s)});
  });
  if (!s.is_padded()) return;
  visit_floating(x.dtype(), [&]<class T>(Type<T>) {
    const auto run = [&]<class Sum>(Type<Sum>) {
      launch(op, {.device = y.device(), .grid = static_cast<unsigned>(s.out), .block = threads},
             replace_nan<Sum, T>, ExistingProducts<T>{s, x.raw<T>(), weight.raw<T>(), nullptr}, y.raw<Sum>());
    };
    using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
    y.dtype() == x.dtype() ? run(Type<T>{}) : run(Type<Sum>{});
  });
}

void im2col_input_grad(std::string_view op, const ConvShape& s, const Tensor& g, const Tensor& weight,
                       const Tensor& bias, const Tensor& x) {
  const DType dtype = s.is_pointwise() ? x.dtype() : compute_type(g.dtype());
  each_batch(s, dtype, [&](const Batch& b) {
    const Tensor columns = empty_columns(s, b, dtype, x.device());
    for (std::int64_t group = 0; group < s.options.groups; ++group)
      multiply(op, x.device(),
               {.rows = s.taps(),
                .cols = s.output_positions(),
                .inner = s.group_out(),
                .a = {group_weight(s, weight, group), s.taps(), true},
                .b = {group_output(s, g, b, group), s.output_positions(), false, output_step(s)},
                .y = group_columns(s, columns, x, b, group),
                .y_stride = s.output_positions(),
                .dtype = g.dtype(),
                .y_dtype = dtype,
                .tf32 = tf32_allowed(),
                .batch = b.count,
                .y_next = columns_step(s)});
    if (!columns) return;
    const std::int64_t n = b.count * s.in * s.h * s.w;
    visit_floating(x.dtype(), [&]<class T>(Type<T>) {
      using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
      launch(op, {.device = x.device(), .grid = blocks_for(n, threads), .block = threads}, col2im<Sum, T>,
             Sizes(op, s), columns.raw<Sum>(), bias.raw<T>(),
             static_cast<T*>(at(x, b.first * s.in * s.h * s.w)), n);
    });
  });
}

// Computes a product for each image, in f32 at least, and sums them.
void im2col_weight_grad(std::string_view op, const ConvShape& s, const Tensor& x, const Tensor& g,
                        const Tensor& weight) {
  const NoGrad no_grad;
  const DType sum_dtype = compute_type(weight.dtype());
  Tensor total;
  each_batch(s, weight.dtype(), [&](const Batch& b) {
    const Tensor columns = columns_of(op, s, x, b);
    const Tensor products = empty({b.count, weight.numel()}, sum_dtype, weight.device());
    for (std::int64_t group = 0; group < s.options.groups; ++group) {
      Gemm p{.rows = s.group_out(),
             .cols = s.taps(),
             .inner = s.output_positions(),
             .a = {group_output(s, g, b, group), s.output_positions(), false, output_step(s)},
             .b = {group_columns(s, columns, x, b, group), s.output_positions(), true, columns_step(s)},
             .y = group_weight(s, products, group),
             .y_stride = s.taps(),
             .dtype = weight.dtype(),
             .y_dtype = sum_dtype,
             .tf32 = tf32_allowed(),
             .batch = b.count,
             .y_next = weight.numel()};
      if (!is_long_product(p.dtype, p.tf32, p.inner)) {
        multiply(op, weight.device(), p);
        continue;
      }
      const std::int64_t item = size_of(p.dtype);
      Gemm one = p;
      one.batch = 1;
      for (std::int64_t i = 0; i < b.count; ++i) {
        one.a.data = static_cast<const char*>(p.a.data) + i * p.a.next * item;
        one.b.data = static_cast<const char*>(p.b.data) + i * p.b.next * item;
        multiply_long(op, one,
                      products.alias({p.rows, p.cols}, {p.cols, 1}, i * p.y_next + group * p.rows * p.cols));
      }
    }
    const Tensor batch_sum = sum(products, {0});
    total = total ? total + batch_sum : batch_sum;
  });
  const std::int64_t n = weight.numel();
  visit_floating(weight.dtype(), [&]<class T>(Type<T>) {
    using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
    launch(op, {.device = weight.device(), .grid = blocks_for(n, threads), .block = threads},
           store_weight<Sum, T>, static_cast<const Sum*>(total.raw<Sum>()),
           ExistingProducts<T>{s, x.raw<T>(), nullptr, g.raw<T>()}, weight.raw<T>(), n);
  });
}

}  // namespace bobbin::cuda
