#include "pool.h"

#include <bobbin/ops.h>
#include <bobbin/parallel.h>

#include <algorithm>
#include <vector>

#include "check.h"

namespace bobbin {
namespace {

template<class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

template<class T>
T* data(const Tensor& t) {
  return static_cast<T*>(t.raw());
}

// The windows [first, last) along an axis whose element k is in the image.
struct Inside {
  Inside(const Windows& w, int k, int step)
      : first(std::clamp((w.padding - k + step - 1) / step, 0, w.out)),
        last(std::clamp(w.in + w.padding <= k ? 0 : (w.in - 1 + w.padding - k) / step + 1, first, w.out)) {}
  int first, last;
};

// The largest elements of a row of windows, and where in the plane they are. Neighbours are compared at once,
// an element of each at a time, for which `stride` is known or 0.
template<int stride, class T>
void max_row(const PoolShape& s, int oy, const T* __restrict plane, Wide<T>* __restrict most,
             int* __restrict places) {
  const Windows& along = s.along;
  const int step = stride == 0 ? along.stride : stride;
  const int top = std::max(0, s.down.begin(oy)), bottom = std::min(s.down.end(oy), s.down.in);
  for (int i = 0; i < along.out; ++i) {
    places[i] = top * along.in + std::max(0, along.begin(i));
    most[i] = static_cast<Wide<T>>(plane[places[i]]);
  }
  for (int r = top; r < bottom; ++r)
    for (int k = 0; k < along.size; ++k) {
      const Inside in(along, k, step);
      const int left = r * along.in + k - along.padding;
      for (int i = in.first; i < in.last; ++i) {
        const int at = left + i * step;
        const auto v = static_cast<Wide<T>>(plane[at]);
        const bool take = !(v <= most[i]) & (most[i] == most[i]);  // the first NaN stays
        most[i] = take ? v : most[i];
        places[i] = take ? at : places[i];
      }
    }
}

template<class T>
void max_plane(const PoolShape& s, const T* x, T* y, std::int64_t* places) {
  std::vector<Wide<T>> most(static_cast<std::size_t>(s.along.out));
  std::vector<int> best(most.size());
  const auto row = s.along.stride == 1 ? max_row<1, T> : s.along.stride == 2 ? max_row<2, T> : max_row<0, T>;
  for (int oy = 0; oy < s.down.out; ++oy) {
    row(s, oy, x, most.data(), best.data());
    for (const int at : best) *y++ = x[at];
    if (places) places = std::copy(best.begin(), best.end(), places);
  }
}

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

// y's planes, each as sums that f(plane, sums) adds to in the type computed in.
template<class T, class F>
void sum_planes(const Tensor& y, F&& f) {
  const std::int64_t count = y.size(2) * y.size(3);
  parallel_for(y.size(0) * y.size(1), [&](std::int64_t plane) {
    std::vector<Wide<T>> sums(static_cast<std::size_t>(count));
    f(plane, sums.data());
    std::transform(sums.begin(), sums.end(), data<T>(y) + plane * count, [](Wide<T> v) { return T(v); });
  });
}

TensorSpec pooled(std::string_view op, const Pool& pool, const Tensor& x) {
  require_floating(op, x);
  return {pool.shape(op, x.shape()).y, x.dtype(), x.device()};
}

// The x that a backward operation gives the gradient of.
TensorSpec unpooled(std::string_view op, const Pool& pool, Pair size, const Tensor& g) {
  require_floating(op, g);
  if (g.rank() != 4) fail<ShapeError>(op, ": expected g [n, channels, oh, ow]; got ", g.spec());
  const PoolShape s = pool.shape(op, {g.size(0), g.size(1), size.h, size.w});
  if (g.shape() != s.y) fail<ShapeError>(op, ": expected g ", s.y, "; got ", g.spec());
  return {s.x, g.dtype(), g.device()};
}

Pair size_of_image(const Vjp& v) { return {v.spec(0).shape[2], v.spec(0).shape[3]}; }
Tensor in_planes(const Tensor& x) { return reshape(x, {x.size(0), x.size(1), x.size(2) * x.size(3)}); }

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
  const Windows down = windows(x[2], window.h, stride.h, padding.h),
                along = windows(x[3], window.w, stride.w, padding.w);
  return {x[0] * x[1], down, along, x, {x[0], x[1], down.out, along.out}};
}

TensorSpec MaxPool2d::infer(Inputs x) const { return pooled(name, *this, x[0]); }
std::vector<TensorSpec> MaxPool2d::aux(Inputs x) const {
  return {{shape(name, x[0].shape()).y, DType::i64, x[0].device()}};
}
void MaxPool2d::cpu(Inputs x, Tensor& y, std::span<Tensor> aux) const {
  const PoolShape s = shape(name, x[0].shape());
  const std::int64_t in = s.down.in * s.along.in, out = s.down.out * s.along.out;
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    parallel_for(s.planes, [&](std::int64_t i) {
      max_plane(s, data<T>(x[0]) + i * in, data<T>(y) + i * out,
                aux.empty() ? nullptr : data<std::int64_t>(aux[0]) + i * out);
    });
  });
}
Grads MaxPool2d::vjp(const Vjp& v) const {
  return {record(MaxPool2dBackward{*this, size_of_image(v)}, {v.grad, v.aux(0)})};
}

TensorSpec MaxPool2dBackward::infer(Inputs x) const {
  if (x[1].dtype() != DType::i64 || x[1].shape() != x[0].shape())
    fail<ShapeError>(name, ": expected places i64", x[0].shape(), "; got ", x[1].spec());
  return unpooled(name, *this, size, x[0]);
}
void MaxPool2dBackward::cpu(Inputs x, Tensor& y) const {
  const std::int64_t windows = x[0].size(2) * x[0].size(3);
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    sum_planes<T>(y, [&](std::int64_t plane, Wide<T>* sums) {
      const T* const g = data<T>(x[0]) + plane * windows;
      const std::int64_t* const places = data<std::int64_t>(x[1]) + plane * windows;
      for (std::int64_t i = 0; i < windows; ++i) sums[places[i]] += static_cast<Wide<T>>(g[i]);
    });
  });
}
// With a cotangent h of the gradient: what h has at the places.
Grads MaxPool2dBackward::vjp(const Vjp& v) const {
  const Tensor& places = v.input(1);
  return {reshape(gather(in_planes(v.grad), 2, in_planes(places)), places.shape()), {}};
}

TensorSpec AvgPool2d::infer(Inputs x) const { return pooled(name, *this, x[0]); }
void AvgPool2d::cpu(Inputs x, Tensor& y) const {
  const PoolShape s = shape(name, x[0].shape());
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    const auto over = sizes<Wide<T>>(s);
    sum_planes<T>(y, [&](std::int64_t plane, Wide<T>* sums) {
      const T* const from = data<T>(x[0]) + plane * s.down.in * s.along.in;
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
      const T* const g = data<T>(x[0]) + plane * static_cast<std::int64_t>(over.size());
      each_element(s, [&](int window, int at) {
        sums[at] += static_cast<Wide<T>>(g[window]) / over[static_cast<std::size_t>(window)];
      });
    });
  });
}
Grads AvgPool2dBackward::vjp(const Vjp& v) const { return {record(AvgPool2d{*this}, {v.grad})}; }

}  // namespace bobbin
