#include <bobbin/ops.h>

#include <utility>

#include "pool_planes.h"
#include "registers.h"

namespace bobbin {
namespace {

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
  void operator()(const T* x, const T* end, T* y, std::int32_t* places) {
    for (int oy = 0; oy < down_.out; ++oy) {
      const int top = std::max(0, down_.begin(oy)), bottom = std::min(down_.end(oy), down_.in);
      if (!vectors(x, end, top, bottom))
        for (int i = 0; i < along_.out; ++i) window(x, i, top, bottom);
      if constexpr (std::is_same_v<T, W>)
        copy_row(&most_[0], along_.out, y);
      else
        for (int i = 0; i < along_.out; ++i) y[i] = static_cast<T>(most_[i]);  // as it was read
      y += along_.out;
      if (places) places = std::copy_n(&place_[0], along_.out, places);
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

// The gradient of a plane whose windows do not overlap: each has a part of it, up to the next one's.
template<class T>
class GradOfPlane {
 public:
  explicit GradOfPlane(const PoolShape& s)
      : down_(s.down), along_(s.along), row_(2 * (along_.out + lanes<Wide<T>>)) {}

  // `end`: of all gradients g, of which there are as many places; up to there both may be read.
  void operator()(const T* g, const T* end, const std::int32_t* places, T* x) {
    for (int oy = 0; oy < down_.out; ++oy, g += along_.out, places += along_.out)
      for (int r = down_.part(oy); r < down_.part(oy + 1); ++r) {
        const std::int32_t at = r * along_.in;
        if (!vectors(g, end, places, at, x + at)) elements(g, places, at, x + at);
      }
  }

 private:
  // One row of the plane, whose first element has the place `at`.
  void elements(const T* g, const std::int32_t* places, std::int32_t at, T* x) {
    for (int i = 0; i < along_.out; ++i)
      for (int c = along_.part(i); c < along_.part(i + 1); ++c) x[c] = places[i] == at + c ? g[i] : T(0.f);
  }

  // The same for as many windows as a register has lanes, where their parts are of two elements.
  bool vectors(const T* g, const T* end, const std::int32_t* places, std::int32_t at, T* x) {
    if constexpr (std::is_same_v<T, float>) {
      using Places = Register<std::int32_t>;
      constexpr int n = lanes<T>;
      const int out = along_.out;
      if (along_.stride != 2 || along_.padding != 0 || end - g < (out + n - 1) / n * n) return false;
      for (int i = 0; i < out; i += n, at += 2 * n) {
        const Register<T> v = *reinterpret_cast<const Register<T>*>(g + i), none = {};
        const Places place = *reinterpret_cast<const Places*>(places + i) - at;
        [&]<int... k>(std::integer_sequence<int, k...>) {
          const Places even = {2 * k...};
          const auto left = place == even ? v : none, right = place == even + 1 ? v : none;
          row_.at(2 * i) = __builtin_shufflevector(left, right, (k / 2 + k % 2 * n)...);
          row_.at(2 * i + n) = __builtin_shufflevector(left, right, (k / 2 + n / 2 + k % 2 * n)...);
        }
        (std::make_integer_sequence<int, n>());
      }
      copy_row(&row_[0], 2 * out, x);
      if (along_.in > 2 * out) x[2 * out] = 0;
      return true;
    }
    return false;
  }

  Windows down_, along_;
  Row<Wide<T>> row_;
};

// Calls f(first, last) for runs of planes, on several threads: as many as make a tile worth its start.
template<class F>
void each_run(const PoolShape& s, F&& f) {
  const std::int64_t pixels = std::int64_t{s.down.in} * s.along.in,
                     planes = std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, pixels));
  parallel_for((s.planes + planes - 1) / planes,
               [&](std::int64_t i) { f(i * planes, std::min(s.planes, (i + 1) * planes)); });
}

Tensor in_planes(const Tensor& x) { return reshape(x, {x.size(0), x.size(1), x.size(2) * x.size(3)}); }

}  // namespace

TensorSpec MaxPool2d::infer(Inputs x) const { return pooled(name, *this, x[0]); }
std::vector<TensorSpec> MaxPool2d::aux(Inputs x) const {
  return {{shape(name, x[0].shape()).y, DType::i32, x[0].device()}};
}
void MaxPool2d::cpu(Inputs x, Tensor& y, std::span<Tensor> aux) const {
  const PoolShape s = shape(name, x[0].shape());
  const std::int64_t in = s.down.in * s.along.in, out = s.down.out * s.along.out;
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    each_run(s, [&](std::int64_t first, std::int64_t last) {
      MaxOfPlane<T> pool(s);
      for (std::int64_t i = first; i < last; ++i)
        pool(data<T>(x[0]) + i * in, data<T>(x[0]) + s.planes * in, data<T>(y) + i * out,
             aux.empty() ? nullptr : data<std::int32_t>(aux[0]) + i * out);
    });
  });
}
Grads MaxPool2d::vjp(const Vjp& v) const {
  return {record(MaxPool2dBackward{*this, size_of_image(v)}, {v.grad, v.aux(0)})};
}

TensorSpec MaxPool2dBackward::infer(Inputs x) const {
  if (x[1].dtype() != DType::i32 || x[1].shape() != x[0].shape())
    fail<ShapeError>(name, ": expected places i32", x[0].shape(), "; got ", x[1].spec());
  return unpooled(name, *this, size, x[0]);
}
void MaxPool2dBackward::cpu(Inputs x, Tensor& y) const {
  const PoolShape s = shape(name, y.shape());
  const std::int64_t windows = x[0].size(2) * x[0].size(3), pixels = size.h * size.w;
  const bool apart = !adaptive && window.h <= stride.h && window.w <= stride.w;
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    const T* const g = data<T>(x[0]);
    const std::int32_t* const places = data<std::int32_t>(x[1]);
    if (apart)
      each_run(s, [&](std::int64_t first, std::int64_t last) {
        GradOfPlane<T> grad(s);
        for (std::int64_t i = first; i < last; ++i)
          grad(g + i * windows, g + s.planes * windows, places + i * windows, data<T>(y) + i * pixels);
      });
    else
      sum_planes<T>(y, [&](std::int64_t plane, Wide<T>* sums) {
        for (std::int64_t i = plane * windows; i < (plane + 1) * windows; ++i)
          sums[places[i]] += static_cast<Wide<T>>(g[i]);
      });
  });
}
// With a cotangent h of the gradient: what h has at the places.
Grads MaxPool2dBackward::vjp(const Vjp& v) const {
  const Tensor& places = v.input(1);
  return {reshape(gather(in_planes(v.grad), 2, in_planes(to(places, DType::i64))), places.shape()), {}};
}

}  // namespace bobbin
