#include "pool.h"

#include <bobbin/ops.h>
#include <bobbin/parallel.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "check.h"
#include "registers.h"

namespace bobbin {
namespace {

template<class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

template<class T>
T* data(const Tensor& t) {
  return static_cast<T*>(t.raw());
}

template<class T>
constexpr int lanes = static_cast<int>(register_lanes<T>);

// Room for a row of windows, and for the last vector to be whole.
template<class T>
class Row {
 public:
  using V = Register<T>;
  explicit Row(int n) : elements_(static_cast<std::size_t>((n + lanes<T> - 1) / lanes<T> * lanes<T>)) {}
  T& operator[](int i) { return elements_[static_cast<std::size_t>(i)]; }
  V& at(int i) { return reinterpret_cast<V&>(elements_[static_cast<std::size_t>(i)]); }

 private:
  std::vector<T> elements_;
};

// Elements x[0], x[stride], ..., where both vectors that hold them can be read.
template<class T>
Register<T> every(const T* x, int stride) {
  const auto a = *reinterpret_cast<const Register<T>*>(x);
  if (stride == 1) return a;
  const auto b = *reinterpret_cast<const Register<T>*>(x + lanes<T>);
  return [&]<std::size_t... i>(std::index_sequence<i...>) { return __builtin_shufflevector(a, b, 2 * i...); }
  (std::make_index_sequence<lanes<T>>());
}

// The largest elements of a plane's windows and their places, a row of windows at a time.
template<class T>
class MaxOfPlane {
 public:
  using W = Wide<T>;
  using Place = std::conditional_t<sizeof(W) == 8, std::int64_t, std::int32_t>;  // a lane as wide as a W

  explicit MaxOfPlane(const PoolShape& s)
      : down_(s.down), along_(s.along), most_(along_.out), place_(along_.out), step_(along_.out) {
    for (int i = 0; i < along_.out; ++i) step_[i] = i * along_.stride;
  }

  // `end`: of all planes, which may be read.
  void operator()(const T* x, const T* end, T* y, std::int64_t* places) {
    for (int oy = 0; oy < down_.out; ++oy) {
      const int top = std::max(0, down_.begin(oy)), bottom = std::min(down_.end(oy), down_.in);
      if (!vectors(x, end, top, bottom))
        for (int i = 0; i < along_.out; ++i) window(x, i, top, bottom);
      if constexpr (std::is_same_v<T, W>)
        copy_row(&most_[0], along_.out, y);
      else
        for (int i = 0; i < along_.out; ++i) y[i] = static_cast<T>(most_[i]);  // as it was read
      y += along_.out;
      for (int i = 0; places && i < along_.out; ++i) *places++ = place_[i];
    }
  }

 private:
  // The first of equals, or the first NaN.
  void window(const T* x, int i, int top, int bottom) {
    const int left = std::max(0, along_.begin(i)), right = std::min(along_.end(i), along_.in);
    most_[i] = static_cast<W>(x[place_[i] = top * along_.in + left]);
    for (int r = top; r < bottom; ++r)
      for (int at = r * along_.in + left; at < r * along_.in + right; ++at) {
        const W next = static_cast<W>(x[at]);
        if (next <= most_[i] || most_[i] != most_[i]) continue;
        most_[i] = next;
        place_[i] = static_cast<Place>(at);
      }
  }

  // The same for as many windows as a register has lanes, where all of them are whole and can be read as
  // vectors.
  bool vectors(const T* x, const T* end, int top, int bottom) {
    if constexpr (std::is_same_v<T, W>) {
      const int in = along_.in, room = (along_.out + lanes<W> - 1) / lanes<W> * lanes<W> * 2;
      const bool whole = !along_.adaptive && along_.padding == 0 && along_.end(along_.out - 1) <= in;
      if (!whole || along_.stride > 2 || end - x < (bottom - 1) * in + along_.size - 1 + room) return false;
      for (int i = 0; i < along_.out; i += lanes<W>) {
        const T* const from = x + i * along_.stride;
        const auto step = step_.at(i);
        auto most = every(from + top * in, along_.stride);
        auto place = step + static_cast<Place>(top * in);
        for (int r = top; r < bottom; ++r)
          for (int k = 0; k < along_.size; ++k) {
            const auto next = every(from + r * in + k, along_.stride);
            const auto larger = ~(next <= most) & (most == most);  // the first NaN stays
            most = larger ? next : most;
            place = larger ? step + static_cast<Place>(r * in + k) : place;
          }
        most_.at(i) = most;
        place_.at(i) = place;
      }
      return true;
    }
    return false;
  }

  Windows down_, along_;
  Row<W> most_;
  Row<Place> place_, step_;
};

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
    T* const out = data<T>(y) + plane * count;
    if constexpr (std::is_same_v<T, Wide<T>>) {
      std::fill_n(out, count, T(0));
      f(plane, out);
    } else {
      std::vector<Wide<T>> sums(static_cast<std::size_t>(count));
      f(plane, sums.data());
      std::transform(sums.begin(), sums.end(), out, [](Wide<T> v) { return T(v); });
    }
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
    // As many planes as make a tile worth its start.
    const std::int64_t planes = std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, in));
    parallel_for((s.planes + planes - 1) / planes, [&](std::int64_t tile) {
      MaxOfPlane<T> pool(s);
      for (std::int64_t i = tile * planes; i < std::min(s.planes, (tile + 1) * planes); ++i)
        pool(data<T>(x[0]) + i * in, data<T>(x[0]) + s.planes * in, data<T>(y) + i * out,
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
