#include <bobbin/matmul.h>

#include <algorithm>
#include <cstdlib>

#include "ops/conv/cuda.h"
#include "ops/conv/windows.cuh"

namespace bobbin::cuda {
namespace {

Windows windows(const ConvShape& s, const Tensor& x, const Tensor& gate, int rows, int cols, Pair stride,
                Pair step, Pair origin) {
  const auto reach = [](std::int64_t step, std::int64_t k) {
    return static_cast<int>(std::min<std::int64_t>(0, step * (k - 1)));
  };
  Windows w{};
  w.x = x.raw<float>();
  w.gate = gate.raw<float>();
  w.channels = static_cast<int>(x.size(1));
  w.in_group = static_cast<int>(x.size(1) / s.options.groups);
  w.h = static_cast<int>(x.size(2));
  w.w = static_cast<int>(x.size(3));
  w.stride_h = static_cast<int>(stride.h);
  w.stride_w = static_cast<int>(stride.w);
  w.step_h = static_cast<int>(step.h);
  w.step_w = static_cast<int>(step.w);
  w.low_h = reach(step.h, s.kh);
  w.low_w = reach(step.w, s.kw);
  w.top = -static_cast<int>(origin.h) - w.low_h;
  w.left = -static_cast<int>(origin.w) - w.low_w;
  w.high = (rows - 1) * w.stride_h + std::abs(w.step_h) * static_cast<int>(s.kh - 1) + 1;
  w.wide = (cols - 1) * w.stride_w + std::abs(w.step_w) * static_cast<int>(s.kw - 1) + 1;
  w.places = static_cast<unsigned>(s.n * rows * cols);
  w.by_places = Divider(static_cast<std::uint32_t>(rows * cols));
  w.by_cols = Divider(static_cast<std::uint32_t>(cols));
  w.by_high = Divider(static_cast<std::uint32_t>(w.high));
  w.by_wide = Divider(static_cast<std::uint32_t>(w.wide));
  w.by_taps = Divider(static_cast<std::uint32_t>(s.kh * s.kw));
  w.by_kw = Divider(static_cast<std::uint32_t>(s.kw));
  return w;
}

}  // namespace

void Windows::hold(int block) {
  const int cols = static_cast<int>(by_cols.d), all = static_cast<int>(by_places.d),
            window = high - (all / cols - 1) * stride_h;  // lines of a place
  // Rows of the result that are begun, and images behind the first.
  const int rows = (block + cols - 2) / cols + 1, images = (block + all - 2) / all;
  lines = (rows - 1) * stride_h + window + images * std::max(0, window - stride_h);
}

Windows windows_of_x(const ConvShape& s, const Tensor& x) {
  const auto& o = s.options;
  return windows(s, x, {}, static_cast<int>(s.oh), static_cast<int>(s.ow), o.stride, o.dilation,
                 {-o.padding.h, -o.padding.w});
}

Windows windows_of_gradient(const ConvShape& s, const Tensor& g, const Tensor& gate) {
  const auto& o = s.options;
  return windows(s, g, gate, static_cast<int>(s.h), static_cast<int>(s.w), 1, {-o.dilation.h, -o.dilation.w},
                 o.padding);
}

bool can_be_implicit(const ConvShape& s, DType dtype) {
  constexpr std::int64_t most = 1 << 30, most_weights = 1 << 18;  // with more, cuBLAS is faster
  const auto& o = s.options;
  return dtype == DType::f32 && !tf32_allowed() && !s.is_pointwise() && s.taps() > 0 && s.group_out() > 0 &&
         s.group_out() * s.taps() <= most_weights && o.groups < 1 << 16 &&
         std::max({s.n * s.output_positions(), s.n * s.h * s.w, s.in * s.h * s.w, s.out * s.output_positions(),
                   s.out * s.taps(), s.n * (s.h + 2 * o.padding.h + s.kh * o.dilation.h),
                   (s.w + 2 * o.padding.w + s.kw * o.dilation.w) * 512}) < most;
}

}  // namespace bobbin::cuda
