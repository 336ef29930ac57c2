// Convolutions on a GPU as matrix products: windows become the columns of matrices, for as many images at a
// time as a workspace holds; cuBLASLt multiplies them. Each pixel of a gradient gathers what its windows
// have, so nothing is added atomically.
#include <bobbin/ops.h>
#include <bobbin/tape.h>

#include <algorithm>
#include <limits>

#include "core/ceil_div.h"
#include "core/cuda/backend.h"
#include "core/cuda/runtime.h"
#include "core/cuda/strided.cuh"
#include "ops/check.h"
#include "ops/conv/cuda.h"
#include "ops/matmul/blas.h"

namespace bobbin::cuda {
namespace {

constexpr int threads = 256;
constexpr std::int64_t workspace = std::int64_t{1} << 25;  // bytes of columns at a time: they stay in L2

// What the kernels know of a convolution: all of its channels, for some images.
struct Sizes {
  int in, h, w, kh, kw, oh, ow;
  int stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  Divider by_places, by_ow, by_pixels, by_w, by_stride_h, by_stride_w;

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
        by_places(static_cast<std::uint32_t>(s.output_positions())),
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
  /// i / n, which `by` divides by.
  static __device__ std::int64_t quotient(std::int64_t i, const Divider& by) {
    return i >> 32 ? i / by.d : by(static_cast<std::uint32_t>(i));
  }
  static __device__ int quotient(int i, const Divider& by) {
    return static_cast<int>(by(static_cast<std::uint32_t>(i)));
  }
};

// A thread for each channel and place of an image: its window, one element of the kernel a row.
template<class T>
__global__ void __launch_bounds__(threads) to_columns(const Sizes s, const T* x, T* columns, std::int64_t n) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= n) return;
  const int places = s.oh * s.ow;
  const std::int64_t channel = Sizes::quotient(i, s.by_places);  // of all images
  const int place = static_cast<int>(i - channel * places), down = Sizes::quotient(place, s.by_ow);
  const int y0 = down * s.stride_h - s.pad_h, x0 = (place - down * s.ow) * s.stride_w - s.pad_w;
  const T* const from = x + channel * s.h * s.w;
  T* to = columns + channel * s.kh * s.kw * places + place;
  for (int ky = 0; ky < s.kh; ++ky)
    for (int kx = 0; kx < s.kw; ++kx, to += places) {
      const int row = y0 + ky * s.dilation_h, column = x0 + kx * s.dilation_w;
      const bool inside = row >= 0 && row < s.h && column >= 0 && column < s.w;
      *to = inside ? from[row * s.w + column] : T(0.f);
    }
}

// A thread a pixel: the sum of what all windows have of it, and the bias of its channel.
template<class Sum, class T>
__global__ void __launch_bounds__(threads)
    add_columns(const Sizes s, const Sum* columns, const T* bias, T* x, std::int64_t n) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= n) return;
  const std::int64_t channel = Sizes::quotient(i, s.by_pixels);
  const int pixel = static_cast<int>(i - channel * s.h * s.w), row = Sizes::quotient(pixel, s.by_w),
            column = pixel - row * s.w;
  const int places = s.oh * s.ow;
  const Sum* const from = columns + channel * s.kh * s.kw * places;
  Sum sum = 0;
  for (int ky = 0; ky < s.kh; ++ky) {
    const int top = row + s.pad_h - ky * s.dilation_h, y = Sizes::quotient(top, s.by_stride_h);
    if (top < 0 || y >= s.oh || y * s.stride_h != top) continue;
    for (int kx = 0; kx < s.kw; ++kx) {
      const int left = column + s.pad_w - kx * s.dilation_w, across = Sizes::quotient(left, s.by_stride_w);
      if (left < 0 || across >= s.ow || across * s.stride_w != left) continue;
      sum += from[(ky * s.kw + kx) * places + y * s.ow + across];
    }
  }
  x[i] = T(bias ? sum + static_cast<Sum>(bias[channel % s.in]) : sum);
}

void* at(const Tensor& t, std::int64_t elements) { return t.raw<char>() + elements * size_of(t.dtype()); }

// Columns of the images [first, first + images).
Tensor columns_of(std::string_view op, const ConvShape& s, const Tensor& x, std::int64_t first,
                  std::int64_t images) {
  const Tensor columns = empty({images, s.in * s.kh * s.kw, s.output_positions()}, x.dtype(), x.device());
  const std::int64_t n = images * s.in * s.output_positions();
  visit_floating(x.dtype(), [&]<class T>(Type<T>) {
    launch(op, {.device = x.device(), .grid = blocks_for(n, threads), .block = threads}, to_columns<T>,
           Sizes(op, s), static_cast<const T*>(at(x, first * s.in * s.h * s.w)), columns.raw<T>(), n);
  });
  return columns;
}

// f(first, images) for even runs of images whose columns fit the workspace.
template<class F>
void each_run(const ConvShape& s, DType dtype, F&& f) {
  const std::int64_t image = s.in * s.kh * s.kw * s.output_positions() * size_of(dtype);
  const std::int64_t runs =
      s.is_pointwise() ? 1 : std::clamp<std::int64_t>(s.n * image / workspace + 1, 1, s.n);
  const std::int64_t run = ceil_div(s.n, runs);
  for (std::int64_t first = 0; first < s.n; first += run) f(first, std::min(run, s.n - first));
}

}  // namespace

void columns_forward(std::string_view op, const ConvShape& s, const Tensor& in, const Tensor& weight,
                     const Tensor& z) {
  each_run(s, in.dtype(), [&](std::int64_t first, std::int64_t images) {
    const Tensor columns = s.is_pointwise() ? Tensor() : columns_of(op, s, in, first, images);
    for (std::int64_t g = 0; g < s.options.groups; ++g)
      multiply(op, z.device(),
               {.rows = s.group_out(),
                .cols = s.output_positions(),
                .inner = s.taps(),
                .a = {at(weight, g * s.group_out() * s.taps()), s.taps()},
                .b = {columns ? at(columns, g * s.taps() * s.output_positions())
                              : at(in, (first * s.in + g * s.group_in()) * s.output_positions()),
                      s.output_positions(), false, s.in * s.kh * s.kw * s.output_positions()},
                .y = at(z, (first * s.out + g * s.group_out()) * s.output_positions()),
                .y_stride = s.output_positions(),
                .dtype = in.dtype(),
                .y_dtype = z.dtype(),
                .tf32 = tf32_allowed(),
                .batch = images,
                .y_next = s.out * s.output_positions()});
  });
}

void columns_input_grad(std::string_view op, const ConvShape& s, const Tensor& g, const Tensor& weight,
                        const Tensor& bias, const Tensor& y) {
  const DType wide = s.is_pointwise() ? y.dtype() : compute_type(g.dtype());
  each_run(s, wide, [&](std::int64_t first, std::int64_t images) {
    const Tensor columns =
        s.is_pointwise() ? Tensor() : empty({images, s.in * s.kh * s.kw, s.output_positions()}, wide, y.device());
    for (std::int64_t group = 0; group < s.options.groups; ++group)
      multiply(op, y.device(),
               {.rows = s.taps(),
                .cols = s.output_positions(),
                .inner = s.group_out(),
                .a = {at(weight, group * s.group_out() * s.taps()), s.taps(), true},
                .b = {at(g, (first * s.out + group * s.group_out()) * s.output_positions()), s.output_positions(), false,
                      s.out * s.output_positions()},
                .y = columns ? at(columns, group * s.taps() * s.output_positions())
                             : at(y, (first * s.in + group * s.group_in()) * s.output_positions()),
                .y_stride = s.output_positions(),
                .dtype = g.dtype(),
                .y_dtype = wide,
                .tf32 = tf32_allowed(),
                .batch = images,
                .y_next = s.in * s.kh * s.kw * s.output_positions()});
    if (!columns) return;
    const std::int64_t n = images * s.in * s.h * s.w;
    visit_floating(g.dtype(), [&]<class T>(Type<T>) {
      using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
      launch(op, {.device = y.device(), .grid = blocks_for(n, threads), .block = threads},
             add_columns<Sum, T>, Sizes(op, s), columns.raw<Sum>(), bias.raw<T>(),
             static_cast<T*>(at(y, first * s.in * s.h * s.w)), n);
    });
  });
}

void columns_weight_grad(std::string_view op, const ConvShape& s, const Tensor& in, const Tensor& g,
                         const Tensor& y) {
  const NoGrad quiet;
  const DType wide = compute_type(y.dtype());
  Tensor total;
  each_run(s, y.dtype(), [&](std::int64_t first, std::int64_t images) {
    const Tensor columns = s.is_pointwise() ? Tensor() : columns_of(op, s, in, first, images);
    const Tensor products = empty({images, y.numel()}, wide, y.device());
    for (std::int64_t group = 0; group < s.options.groups; ++group)
      multiply(op, y.device(),
               {.rows = s.group_out(),
                .cols = s.taps(),
                .inner = s.output_positions(),
                .a = {at(g, (first * s.out + group * s.group_out()) * s.output_positions()), s.output_positions(), false,
                      s.out * s.output_positions()},
                .b = {columns ? at(columns, group * s.taps() * s.output_positions())
                              : at(in, (first * s.in + group * s.group_in()) * s.output_positions()),
                      s.output_positions(), true, s.in * s.kh * s.kw * s.output_positions()},
                .y = at(products, group * s.group_out() * s.taps()),
                .y_stride = s.taps(),
                .dtype = y.dtype(),
                .y_dtype = wide,
                .tf32 = tf32_allowed(),
                .batch = images,
                .y_next = y.numel()});
    const Tensor run = sum(products, {0});
    total = total ? total + run : run;
  });
  copy_elements(reshape(total, y.shape()), y);
}

}  // namespace bobbin::cuda
