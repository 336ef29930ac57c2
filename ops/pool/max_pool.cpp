// max_pool2d with its CPU kernels.
#include <bobbin/elementwise.h>
#include <bobbin/index.h>
#include <bobbin/view.h>

#include <utility>

#include "core/ceil_div.h"
#include "ops/cpu/registers.h"
#include "ops/pool/planes.h"

namespace bobbin {
namespace {

using simd::prefetch_behind, simd::Register, simd::register_lanes;

template<class T>
constexpr int lanes = static_cast<int>(register_lanes<T>);

// How many of a row of n windows vectors take.
template<class T>
int in_vectors(int n) {
  return ceil_div(n, lanes<T>) * lanes<T>;
}

// Every second element of two vectors is shuffled without leaving the parts of 16 bytes: lane i then has the
// window in_shuffle(i), and window i is in lane in_order(i).
template<class T>
constexpr int half = 8 / static_cast<int>(sizeof(T));
template<class T>
constexpr int in_shuffle(int i) {
  const int part = i / (2 * half<T>), j = i % (2 * half<T>);
  return part * half<T> + j % half<T> + j / half<T> * lanes<T> / 2;
}
template<class T>
constexpr int in_order(int i) {
  const int j = i % (lanes<T> / 2);
  return j / half<T> * 2 * half<T> + j % half<T> + i / (lanes<T> / 2) * half<T>;
}

// Elements x[0], x[stride], ..., where both vectors that hold them can be read.
template<int stride, class T>
Register<T> every(const T* x) {
  const auto a = *reinterpret_cast<const Register<T>*>(x);
  if constexpr (stride == 1) return a;
  const auto b = *reinterpret_cast<const Register<T>*>(x + lanes<T>);
  return [&]<int... i>(std::integer_sequence<int, i...>) {
    return __builtin_shufflevector(a, b, 2 * in_shuffle<T>(i)...);
  }
  (std::make_integer_sequence<int, lanes<T>>());
}

// The largest elements of a plane's windows and their places, a row of windows at a time.
template<class T>
class MaxOfPlane {
 public:
  using W = Wide<T>;
  using Place = std::conditional_t<sizeof(W) == 8, std::int64_t, std::int32_t>;  // a lane as wide as a W

  explicit MaxOfPlane(const PoolShape& s)
      : down_(s.down), along_(s.along), most_(row_length()), place_(row_length()) {}

  // `end` and `y_end`: up to where x may be read, and y and places be written with what is still to come.
  void operator()(const T* x, const T* end, T* y, const T* y_end, std::int32_t* places) {
    for (int oy = 0; oy < down_.out; ++oy, y += along_.out) {
      const int top = std::max(0, down_.begin(oy)), bottom = std::min(down_.end(oy), down_.in);
      prefetch_behind(x + top * along_.in, (bottom - top) * along_.in);
      const bool room = y_end - y >= in_vectors<W>(along_.out);
      W* most = most_.data();
      Place* place = place_.data();
      if constexpr (std::is_same_v<W, T>) most = room ? y : most;
      if constexpr (std::is_same_v<Place, std::int32_t>) place = room && places ? places : place;
      if (!vectors(x, end, top, bottom, most, place))
        for (int i = 0; i < along_.out; ++i) window(x, i, top, bottom, most[i], place[i]);
      if (most == most_.data())
        std::transform(most, most + along_.out, y, [](W v) { return static_cast<T>(v); });  // as it was read
      if (places && place == place_.data()) std::copy_n(place, along_.out, places);
      if (places) places += along_.out;
    }
  }

 private:
  std::size_t row_length() const { return static_cast<std::size_t>(in_vectors<W>(along_.out)); }

  // The first of equals, or the first NaN.
  void window(const T* x, int i, int top, int bottom, W& most, Place& place) const {
    const int left = std::max(0, along_.begin(i)), right = std::min(along_.end(i), along_.in);
    most = static_cast<W>(x[place = top * along_.in + left]);
    for (int r = top; r < bottom; ++r)
      for (int at = r * along_.in + left; at < r * along_.in + right; ++at) {
        const W next = static_cast<W>(x[at]);
        if (next <= most || most != most) continue;
        most = next;
        place = static_cast<Place>(at);
      }
  }

  // The same for as many windows as a register has lanes, where all of them are whole and can be read as
  // vectors.
  bool vectors(const T* x, const T* end, int top, int bottom, W* most, Place* place) const {
    if constexpr (std::is_same_v<T, W>) {
      const int room = 2 * in_vectors<W>(along_.out);
      const bool whole = !along_.adaptive && along_.padding == 0 && along_.end(along_.out - 1) <= along_.in;
      if (!whole || along_.stride > 2 || end - x < (bottom - 1) * along_.in + along_.size - 1 + room)
        return false;
      along_.stride == 1 ? vectors<1>(x, top, bottom, most, place) : vectors<2>(x, top, bottom, most, place);
      return true;
    }
    return false;
  }
  template<int stride>
  void vectors(const T* x, int top, int bottom, W* y, Place* places) const {
    [&]<int... k>(std::integer_sequence<int, k...>) {
      for (int i = 0; i < along_.out; i += lanes<W>, x += lanes<W> * stride) {
        const Register<Place> first = {(stride == 1 ? k : 2 * in_shuffle<W>(k))...};
        auto most = every<stride>(x + top * along_.in);
        auto place = first + static_cast<Place>(top * along_.in + i * stride);
        for (int r = top; r < bottom; ++r)
          for (int at = r * along_.in; at < r * along_.in + along_.size; ++at) {
            const auto next = every<stride>(x + at);
            const auto larger = ~(next <= most) & (most == most);  // the first NaN stays
            most = larger ? next : most;
            place = larger ? first + static_cast<Place>(at + i * stride) : place;
          }
        if constexpr (stride == 2) {
          most = __builtin_shufflevector(most, most, in_order<W>(k)...);
          place = __builtin_shufflevector(place, place, in_order<W>(k)...);
        }
        *reinterpret_cast<Register<W>*>(y + i) = most;
        *reinterpret_cast<Register<Place>*>(places + i) = place;
      }
    }
    (std::make_integer_sequence<int, lanes<W>>());
  }

  Windows down_, along_;
  std::vector<W> most_;
  std::vector<Place> place_;
};

// The gradient of a plane whose windows do not overlap: each has a part of it, up to the next one's.
template<class T>
class GradOfPlane {
 public:
  explicit GradOfPlane(const PoolShape& s) : down_(s.down), along_(s.along) {}

  // `end`: up to where g and places may be read; `x_end`: up to where x may be written with what is still to
  // come.
  void operator()(const T* g, const T* end, const std::int32_t* places, T* x, const T* x_end) const {
    const int read = in_vectors<Wide<T>>(along_.out);
    const bool pairs = along_.stride == 2 && along_.padding == 0;
    for (int oy = 0; oy < down_.out; ++oy, g += along_.out, places += along_.out)
      for (int r = down_.part(oy); r < down_.part(oy + 1); ++r) {
        const std::int32_t at = r * along_.in;
        prefetch_behind<true>(x + at, along_.in);
        if (pairs && end - g >= read && x_end - (x + at) >= 2 * read)
          vectors(g, places, at, x + at);
        else
          elements(g, places, at, x + at);
      }
  }

 private:
  // One row of the plane, whose first element has the place `at`.
  void elements(const T* g, const std::int32_t* places, std::int32_t at, T* x) const {
    for (int i = 0; i < along_.out; ++i)
      for (int c = along_.part(i); c < along_.part(i + 1); ++c) x[c] = places[i] == at + c ? g[i] : T(0.f);
  }

  // The same for as many windows as a register has lanes, where their parts are of two elements.
  void vectors(const T* g, const std::int32_t* places, std::int32_t at, T* x) const {
    if constexpr (std::is_same_v<T, float>) {
      constexpr int n = lanes<T>;
      [&]<int... k>(std::integer_sequence<int, k...>) {
        const Register<std::int32_t> even = {2 * k...};
        for (int i = 0; i < along_.out; i += n, at += 2 * n) {
          const Register<T> v = *reinterpret_cast<const Register<T>*>(g + i), none = {};
          const auto place = *reinterpret_cast<const Register<std::int32_t>*>(places + i) - at;
          const auto left = place == even ? v : none, right = place == even + 1 ? v : none;
          *reinterpret_cast<Register<T>*>(x + 2 * i) =
              __builtin_shufflevector(left, right, (k / 2 + k % 2 * n)...);
          *reinterpret_cast<Register<T>*>(x + 2 * i + n) =
              __builtin_shufflevector(left, right, (k / 2 + n / 2 + k % 2 * n)...);
        }
      }
      (std::make_integer_sequence<int, n>());
      if (along_.in > 2 * along_.out) x[2 * along_.out] = 0;
    } else {
      elements(g, places, at, x);
    }
  }

  Windows down_, along_;
};

// Calls f(first, last) for runs of planes, on several threads: as many as make a tile worth its start.
template<class F>
void each_run(const PoolShape& s, F&& f) {
  const std::int64_t pixels = std::int64_t{s.down.in} * s.along.in,
                     planes = std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, pixels));
  parallel_for(ceil_div(s.planes, planes),
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
        pool(x[0].raw<T>() + i * in, x[0].raw<T>() + s.planes * in, y.raw<T>() + i * out,
             y.raw<T>() + last * out, aux.empty() ? nullptr : aux[0].raw<std::int32_t>() + i * out);
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
    const T* const g = x[0].raw<T>();
    const std::int32_t* const places = x[1].raw<std::int32_t>();
    if (apart)
      each_run(s, [&](std::int64_t first, std::int64_t last) {
        const GradOfPlane<T> grad(s);
        for (std::int64_t i = first; i < last; ++i)
          grad(g + i * windows, g + s.planes * windows, places + i * windows, y.raw<T>() + i * pixels,
               y.raw<T>() + last * pixels);
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

Tensor max_pool2d(const Tensor& x, Pair window, const PoolOptions& o) {
  return record(MaxPool2d{{window, o.stride.value_or(window), o.padding}}, {x});
}

}  // namespace bobbin
