// max_pool2d with its CPU kernels.
#include <bobbin/elementwise.h>
#include <bobbin/index.h>
#include <bobbin/view.h>

#include <utility>

#include "core/ceil_div.h"
#include "ops/cpu/registers.h"
#include "ops/pool/cpu.h"

namespace bobbin {
namespace {

using simd::prefetch_ahead, simd::Register, simd::register_lanes;

template<class T>
constexpr int lanes = static_cast<int>(register_lanes<T>);

// n rounded up to a multiple of the lanes of a register.
template<class T>
int round_up_to_lanes(int n) {
  return ceil_div(n, lanes<T>) * lanes<T>;
}

// With stride 2, a register gets every second element of two other registers. The shuffle that selects them
// does not cross parts of 16 bytes, which would be slower. So lane i holds window window_of_lane(i) of the
// register, and window i is in lane lane_of_window(i).
template<class T>
constexpr int half_part = 8 / static_cast<int>(sizeof(T));
template<class T>
constexpr int window_of_lane(int i) {
  const int part = i / (2 * half_part<T>), j = i % (2 * half_part<T>);
  return part * half_part<T> + j % half_part<T> + j / half_part<T> * lanes<T> / 2;
}
template<class T>
constexpr int lane_of_window(int i) {
  const int j = i % (lanes<T> / 2);
  return j / half_part<T> * 2 * half_part<T> + j % half_part<T> + i / (lanes<T> / 2) * half_part<T>;
}

// For stride 1, the elements x[0], x[1], ...; for stride 2, x[2 * window_of_lane(i)] in lane i. Reads
// `stride` whole registers.
template<int stride, class T>
Register<T> load_strided(const T* x) {
  const auto a = simd::load_register(x);
  if constexpr (stride == 1) return a;
  const auto b = simd::load_register(x + lanes<T>);
  return [&]<int... i>(std::integer_sequence<int, i...>) {
    return __builtin_shufflevector(a, b, 2 * window_of_lane<T>(i)...);
  }
  (std::make_integer_sequence<int, lanes<T>>());
}

// The maxima of a plane's windows and their indices in the plane, one row of windows at a time.
template<class T>
class PlaneMax {
 public:
  using W = PoolCompute<T>;
  using Index = std::conditional_t<sizeof(W) == 8, std::int64_t, std::int32_t>;  // as wide as a W

  explicit PlaneMax(const PoolShape& s) : h_(s.h), w_(s.w), max_(row_length()), index_(row_length()) {}

  // x may be read up to `end`, beyond the plane. y and indices (null if not requested) may be overwritten up
  // to y_end: later calls write these elements.
  void operator()(const T* x, const T* end, T* y, const T* y_end, std::int32_t* indices) {
    for (int oy = 0; oy < h_.out; ++oy, y += w_.out) {
      const int top = std::max(0, h_.begin(oy)), bottom = std::min(h_.end(oy), h_.in);
      prefetch_ahead(x + top * w_.in, (bottom - top) * w_.in);
      const bool room = y_end - y >= round_up_to_lanes<W>(w_.out);
      W* max = max_.data();
      Index* index = index_.data();
      if constexpr (std::is_same_v<W, T>) max = room ? y : max;
      if constexpr (std::is_same_v<Index, std::int32_t>) index = room && indices ? indices : index;
      if (!row_in_registers(x, end, top, bottom, max, index))
        for (int i = 0; i < w_.out; ++i) window(x, i, top, bottom, max[i], index[i]);
      if (max == max_.data())
        std::transform(max, max + w_.out, y, [](W v) { return static_cast<T>(v); });  // exact
      if (indices && index == index_.data()) std::copy_n(index, w_.out, indices);
      if (indices) indices += w_.out;
    }
  }

 private:
  std::size_t row_length() const { return static_cast<std::size_t>(round_up_to_lanes<W>(w_.out)); }

  // The first of equal elements, or the first NaN, of rows [top, bottom) of window i.
  void window(const T* x, int i, int top, int bottom, W& max, Index& index) const {
    const int left = std::max(0, w_.begin(i)), right = std::min(w_.end(i), w_.in);
    max = static_cast<W>(x[index = top * w_.in + left]);
    for (int r = top; r < bottom; ++r)
      for (int at = r * w_.in + left; at < r * w_.in + right; ++at) {
        const W next = static_cast<W>(x[at]);
        if (next <= max || max != max) continue;
        max = next;
        index = static_cast<Index>(at);
      }
  }

  // The same for a row of windows, in registers with one window per lane. Returns false, and does nothing, if
  // windows have padding or a stride above 2, or if registers would read beyond `end`.
  bool row_in_registers(const T* x, const T* end, int top, int bottom, W* max, Index* index) const {
    if constexpr (std::is_same_v<T, W>) {
      const int room = 2 * round_up_to_lanes<W>(w_.out);
      const bool whole = !w_.adaptive && w_.padding == 0 && w_.end(w_.out - 1) <= w_.in;
      if (!whole || w_.stride > 2 || end - x < (bottom - 1) * w_.in + w_.size - 1 + room) return false;
      w_.stride == 1 ? row_in_registers<1>(x, top, bottom, max, index)
                     : row_in_registers<2>(x, top, bottom, max, index);
      return true;
    }
    return false;
  }
  template<int stride>
  void row_in_registers(const T* x, int top, int bottom, W* y, Index* indices) const {
    [&]<int... k>(std::integer_sequence<int, k...>) {
      for (int i = 0; i < w_.out; i += lanes<W>, x += lanes<W> * stride) {
        const Register<Index> first = {(stride == 1 ? k : 2 * window_of_lane<W>(k))...};
        auto max = load_strided<stride>(x + top * w_.in);
        auto index = first + static_cast<Index>(top * w_.in + i * stride);
        for (int r = top; r < bottom; ++r)
          for (int at = r * w_.in; at < r * w_.in + w_.size; ++at) {
            const auto next = load_strided<stride>(x + at);
            const auto larger = ~(next <= max) & (max == max);  // the first NaN stays
            max = larger ? next : max;
            index = larger ? first + static_cast<Index>(at + i * stride) : index;
          }
        if constexpr (stride == 2) {
          max = __builtin_shufflevector(max, max, lane_of_window<W>(k)...);
          index = __builtin_shufflevector(index, index, lane_of_window<W>(k)...);
        }
        simd::store_register(y + i, max);
        simd::store_register(indices + i, index);
      }
    }
    (std::make_integer_sequence<int, lanes<W>>());
  }

  WindowAxis h_, w_;
  std::vector<W> max_;
  std::vector<Index> index_;
};

// The gradient of a plane whose windows do not overlap: each window writes its region (WindowAxis).
template<class T>
class PlaneGrad {
 public:
  explicit PlaneGrad(const PoolShape& s) : h_(s.h), w_(s.w) {}

  // g and indices may be read up to `end`, beyond the plane. x may be overwritten up to x_end: later calls
  // write these elements.
  void operator()(const T* g, const T* end, const std::int32_t* indices, T* x, const T* x_end) const {
    const int read = round_up_to_lanes<PoolCompute<T>>(w_.out);
    const bool pairs = w_.stride == 2 && w_.padding == 0;
    for (int oy = 0; oy < h_.out; ++oy, g += w_.out, indices += w_.out)
      for (int r = h_.region(oy); r < h_.region(oy + 1); ++r) {
        const std::int32_t at = r * w_.in;
        prefetch_ahead<true>(x + at, w_.in);
        if (pairs && end - g >= read && x_end - (x + at) >= 2 * read)
          row_in_registers(g, indices, at, x + at);
        else
          row(g, indices, at, x + at);
      }
  }

 private:
  // One row of the plane, whose first element has index `at`.
  void row(const T* g, const std::int32_t* indices, std::int32_t at, T* x) const {
    for (int i = 0; i < w_.out; ++i)
      for (int c = w_.region(i); c < w_.region(i + 1); ++c) x[c] = indices[i] == at + c ? g[i] : T(0.f);
  }

  // The same for regions of two elements, in registers with one window per lane.
  void row_in_registers(const T* g, const std::int32_t* indices, std::int32_t at, T* x) const {
    if constexpr (std::is_same_v<T, float>) {
      constexpr int n = lanes<T>;
      [&]<int... k>(std::integer_sequence<int, k...>) {
        const Register<std::int32_t> even = {2 * k...};
        for (int i = 0; i < w_.out; i += n, at += 2 * n) {
          const Register<T> v = simd::load_register(g + i), zero = {};
          const auto index = simd::load_register(indices + i) - at;
          const auto left = index == even ? v : zero, right = index == even + 1 ? v : zero;
          simd::store_register(x + 2 * i, __builtin_shufflevector(left, right, (k / 2 + k % 2 * n)...));
          simd::store_register(x + 2 * i + n,
                               __builtin_shufflevector(left, right, (k / 2 + n / 2 + k % 2 * n)...));
        }
      }
      (std::make_integer_sequence<int, n>());
      if (w_.in > 2 * w_.out) x[2 * w_.out] = 0;
    } else {
      row(g, indices, at, x);
    }
  }

  WindowAxis h_, w_;
};

// Calls f(first, last) for ranges of planes, on several threads. A task takes several small planes, so that
// its work exceeds the cost of starting it.
template<class F>
void each_plane_range(const PoolShape& s, F&& f) {
  const std::int64_t pixels = std::int64_t{s.h.in} * s.w.in,
                     planes = std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, pixels));
  parallel_for(ceil_div(s.planes, planes),
               [&](std::int64_t i) { f(i * planes, std::min(s.planes, (i + 1) * planes)); });
}

}  // namespace

TensorSpec MaxPool2d::infer(Inputs x) const { return infer_forward(name, x[0]); }
std::vector<TensorSpec> MaxPool2d::aux(Inputs x) const {
  return {{shape(name, x[0].shape()).y, DType::i32, x[0].device()}};
}
void MaxPool2d::cpu(Inputs x, Tensor& y, std::span<Tensor> aux) const {
  const PoolShape s = shape(name, x[0].shape());
  const std::int64_t in = s.h.in * s.w.in, out = s.h.out * s.w.out;
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    each_plane_range(s, [&](std::int64_t first, std::int64_t last) {
      PlaneMax<T> pool(s);
      for (std::int64_t i = first; i < last; ++i)
        pool(x[0].raw<T>() + i * in, x[0].raw<T>() + s.planes * in, y.raw<T>() + i * out,
             y.raw<T>() + last * out, aux.empty() ? nullptr : aux[0].raw<std::int32_t>() + i * out);
    });
  });
}
Grads MaxPool2d::vjp(const Vjp& v) const {
  return {record(MaxPool2dBackward{*this, Pair(v.spec(0).shape[2], v.spec(0).shape[3])}, {v.grad, v.aux(0)})};
}

TensorSpec MaxPool2dBackward::infer(Inputs x) const {
  if (x[1].dtype() != DType::i32 || x[1].shape() != x[0].shape())
    fail<ShapeError>(name, ": expected places i32", x[0].shape(), "; got ", x[1].spec());
  return infer_backward(name, size, x[0]);
}
void MaxPool2dBackward::cpu(Inputs x, Tensor& y) const {
  const PoolShape s = shape(name, y.shape());
  const std::int64_t windows = x[0].size(2) * x[0].size(3), pixels = size.h * size.w;
  const bool disjoint = !adaptive && window.h <= stride.h && window.w <= stride.w;
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    const T* const g = x[0].raw<T>();
    const std::int32_t* const indices = x[1].raw<std::int32_t>();
    if (disjoint)
      each_plane_range(s, [&](std::int64_t first, std::int64_t last) {
        const PlaneGrad<T> grad(s);
        for (std::int64_t i = first; i < last; ++i)
          grad(g + i * windows, g + s.planes * windows, indices + i * windows, y.raw<T>() + i * pixels,
               y.raw<T>() + last * pixels);
      });
    else
      sum_planes<T>(y, [&](std::int64_t plane, PoolCompute<T>* sums) {
        for (std::int64_t i = plane * windows; i < (plane + 1) * windows; ++i)
          sums[indices[i]] += static_cast<PoolCompute<T>>(g[i]);
      });
  });
}
// For a cotangent h of the result, the gradient of g is the elements of h at the indices.
Grads MaxPool2dBackward::vjp(const Vjp& v) const {
  const Tensor& indices = v.input(1);
  const auto flat = [](const Tensor& t) { return flatten(t, 2); };
  return {reshape(gather(flat(v.grad), 2, flat(to(indices, DType::i64))), indices.shape()), {}};
}

Tensor max_pool2d(const Tensor& x, Pair window, const PoolOptions& o) {
  return record(MaxPool2d{{window, o.stride.value_or(window), o.padding}}, {x});
}

}  // namespace bobbin
