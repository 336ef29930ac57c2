// avg_pool2d and adaptive_avg_pool2d, with their CPU kernels; and the checks that all poolings share.
#include <limits>

#include "ops/pool/planes.h"

namespace bobbin {
namespace {

// Calls f(window, element) for all windows of a plane and their elements in the image, row by row.
template<class F>
void each_element(const PoolShape& s, F&& f) {
  for (int oy = 0, window = 0; oy < s.down.out; ++oy)
    for (int ox = 0; ox < s.along.out; ++ox, ++window)
      for (int r = std::max(0, s.down.begin(oy)); r < std::min(s.down.end(oy), s.down.in); ++r)
        for (int c = std::max(0, s.along.begin(ox)); c < std::min(s.along.end(ox), s.along.in); ++c)
          f(window, r * s.along.in + c);
}

// How many elements each window's mean is over: padding counts.
template<class T>
std::vector<T> sizes(const PoolShape& s) {
  std::vector<T> out;
  for (int oy = 0; oy < s.down.out; ++oy)
    for (int ox = 0; ox < s.along.out; ++ox)
      out.push_back(
          static_cast<T>((s.down.end(oy) - s.down.begin(oy)) * (s.along.end(ox) - s.along.begin(ox))));
  return out;
}

}  // namespace

PoolShape Pool::shape(std::string_view op, const Shape& x) const {
  if (x.size() != 4) fail<ShapeError>(op, ": expected images [n, channels, h, w]; got ", x);
  const auto fits = [](std::int64_t n) { return n >= 1 && n <= 1 << 20; };
  if (!fits(window.h) || !fits(window.w) || !fits(stride.h) || !fits(stride.w) || padding.h < 0 ||
      padding.w < 0 || 2 * padding.h > window.h || 2 * padding.w > window.w)
    fail<ValueError>(op,
                     ": expected windows and strides of at least 1, and a padding of at most half a window");
  const auto windows = [&](std::int64_t in, std::int64_t size, std::int64_t step,
                           std::int64_t pad) -> Windows {
    const std::int64_t out = adaptive ? size : (in + 2 * pad - size) / step + 1;
    if (in > 1 << 20 || (adaptive ? in < 1 : in + 2 * pad < size))
      fail<ShapeError>(op, ": windows of ", window.h, " x ", window.w, " do not fit images ", x);
    return {static_cast<int>(in),   static_cast<int>(out), static_cast<int>(size),
            static_cast<int>(step), static_cast<int>(pad), adaptive};
  };
  if (x[2] * x[3] > std::numeric_limits<std::int32_t>::max())
    fail<ShapeError>(op, ": images of 2^31 elements or more are not pooled; got ", x);
  const Windows down = windows(x[2], window.h, stride.h, padding.h),
                along = windows(x[3], window.w, stride.w, padding.w);
  return {x[0] * x[1], down, along, x, {x[0], x[1], down.out, along.out}};
}

TensorSpec AvgPool2d::infer(Inputs x) const { return pooled(name, *this, x[0]); }
void AvgPool2d::cpu(Inputs x, Tensor& y) const {
  const PoolShape s = shape(name, x[0].shape());
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    const auto over = sizes<Wide<T>>(s);
    sum_planes<T>(y, [&](std::int64_t plane, Wide<T>* sums) {
      const T* const from = x[0].raw<T>() + plane * s.down.in * s.along.in;
      each_element(s, [&](int window, int at) { sums[window] += static_cast<Wide<T>>(from[at]); });
      for (std::size_t i = 0; i < over.size(); ++i) sums[i] /= over[i];
    });
  });
}
Grads AvgPool2d::vjp(const Vjp& v) const {
  return {record(AvgPool2dBackward{*this, size_of_image(v)}, {v.grad})};
}

TensorSpec AvgPool2dBackward::infer(Inputs x) const { return unpooled(name, *this, size, x[0]); }
void AvgPool2dBackward::cpu(Inputs x, Tensor& y) const {
  const PoolShape s = shape(name, y.shape());
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    const auto over = sizes<Wide<T>>(s);
    sum_planes<T>(y, [&](std::int64_t plane, Wide<T>* sums) {
      const T* const g = x[0].raw<T>() + plane * static_cast<std::int64_t>(over.size());
      each_element(s, [&](int window, int at) {
        sums[at] += static_cast<Wide<T>>(g[window]) / over[static_cast<std::size_t>(window)];
      });
    });
  });
}
Grads AvgPool2dBackward::vjp(const Vjp& v) const { return {record(AvgPool2d{*this}, {v.grad})}; }

Tensor avg_pool2d(const Tensor& x, Pair window, const PoolOptions& o) {
  return record(AvgPool2d{{window, o.stride.value_or(window), o.padding}}, {x});
}
Tensor adaptive_avg_pool2d(const Tensor& x, Pair size) { return record(AvgPool2d{{size, 1, 0, true}}, {x}); }

}  // namespace bobbin
