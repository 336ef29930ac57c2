// Pooling on a GPU: a thread computes one element of the result, and reads all elements that it depends on.
#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"
#include "core/cuda/strided.cuh"
#include "ops/check.h"
#include "ops/pool/pool.h"

namespace bobbin {
namespace {

constexpr int threads = 256;

/// The windows along an axis. Finds the windows of an element without divisions.
struct Axis : WindowAxis {
  cuda::Divider by_out, by_in, by_stride;
  explicit Axis(const WindowAxis& w)
      : WindowAxis(w),
        by_out(static_cast<std::uint32_t>(w.out)),
        by_in(static_cast<std::uint32_t>(w.in)),
        by_stride(static_cast<std::uint32_t>(w.stride)) {}
  __device__ int first(int x) const {
    if (adaptive) return WindowAxis::first(x);
    const int from = x + padding - size + 1;
    return from <= 0 ? 0 : static_cast<int>(by_stride(static_cast<std::uint32_t>(from + stride - 1)));
  }
  __device__ int last(int x) const {
    if (adaptive) return WindowAxis::last(x);
    return min(static_cast<int>(by_stride(static_cast<std::uint32_t>(x + padding))) + 1, out);
  }
};

/// The windows of a plane.
struct PlaneWindows {
  Axis h, w;
  explicit PlaneWindows(const PoolShape& s) : h(s.h), w(s.w) {}
  BOBBIN_HD int count() const { return h.out * w.out; }
  BOBBIN_HD int pixels() const { return h.in * w.in; }
  __device__ int row_of(int window) const {
    return static_cast<int>(w.by_out(static_cast<std::uint32_t>(window)));
  }

  /// Calls f(element) for the elements of a window that are not padding, in row-major order.
  template<class F>
  __device__ void each_element(int window, F&& f) const {
    const int oy = row_of(window), ox = window - oy * w.out;
    const auto inside = [](int x, int size) { return x < 0 ? 0 : x < size ? x : size; };
    for (int r = inside(h.begin(oy), h.in); r < inside(h.end(oy), h.in); ++r)
      for (int c = inside(w.begin(ox), w.in); c < inside(w.end(ox), w.in); ++c) f(r * w.in + c);
  }
  /// Calls f(window) for the windows that may hold an element.
  template<class F>
  __device__ void each_window(int element, F&& f) const {
    const int r = static_cast<int>(w.by_in(static_cast<std::uint32_t>(element))), c = element - r * w.in;
    for (int oy = h.first(r); oy < h.last(r); ++oy)
      for (int ox = w.first(c); ox < w.last(c); ++ox) f(oy * w.out + ox);
  }
  /// The divisor of a window's sum: the number of its elements, with padding.
  __device__ std::int64_t size(int window) const {
    const int oy = row_of(window), ox = window - oy * w.out;
    return static_cast<std::int64_t>(h.end(oy) - h.begin(oy)) * (w.end(ox) - w.begin(ox));
  }
};

// Functors that compute element i of a plane of the result; `count` is the number of elements per plane.

/// The maximum of window i, and its index.
template<class T>
struct Max {
  PlaneWindows windows;
  const T* x;
  T* y;
  std::int32_t* indices;  // may be null
  int count;
  __device__ void operator()(std::int64_t plane, int i) const {
    const T* const from = x + plane * windows.h.in * windows.w.in;
    int index = -1;
    cuda::Compute<T> max = 0;
    windows.each_element(i, [&](int at) {
      const auto v = static_cast<cuda::Compute<T>>(from[at]);
      if (index >= 0 && !(v > max || (v != v && max == max))) return;
      max = v;
      index = at;
    });
    y[plane * count + i] = from[index];
    if (indices) indices[plane * count + i] = index;
  }
};

/// The gradient of pixel i: the sum over the windows whose maximum it is.
template<class T>
struct MaxBackward {
  PlaneWindows windows;
  const T* g;
  const std::int32_t* indices;
  T* x;
  int count;
  __device__ void operator()(std::int64_t plane, int i) const {
    const std::int64_t from = plane * windows.h.out * windows.w.out;
    cuda::Compute<T> sum = 0;
    windows.each_window(i, [&](int window) {
      if (indices[from + window] == i) sum += static_cast<cuda::Compute<T>>(g[from + window]);
    });
    x[plane * count + i] = T(sum);
  }
};

/// The same if windows do not overlap: the gradients of window i's region.
template<class T>
struct MaxBackwardDisjoint {
  PlaneWindows windows;
  const T* g;
  const std::int32_t* indices;
  T* x;
  int count;  // windows
  __device__ void operator()(std::int64_t plane, int i) const {
    const Axis &h = windows.h, &w = windows.w;
    const int oy = windows.row_of(i), ox = i - oy * w.out;
    const std::int64_t from = plane * count + i;
    const int index = indices[from];
    const T gradient = g[from];
    T* const to = x + plane * h.in * w.in;
    for (int r = h.region(oy); r < h.region(oy + 1); ++r)
      for (int c = w.region(ox); c < w.region(ox + 1); ++c) {
        const int at = r * w.in + c;
        to[at] = at == index ? gradient : T(0.f);
      }
  }
};

/// The mean of window i.
template<class T>
struct Mean {
  PlaneWindows windows;
  const T* x;
  T* y;
  int count;
  __device__ void operator()(std::int64_t plane, int i) const {
    const T* const from = x + plane * windows.h.in * windows.w.in;
    double sum = 0;  // a window may have so many elements that a running sum in f32 would lose digits
    windows.each_element(i, [&](int at) { sum += static_cast<cuda::Compute<T>>(from[at]); });
    y[plane * count + i] = T(static_cast<cuda::Compute<T>>(sum / static_cast<double>(windows.size(i))));
  }
};

/// The gradient of pixel i: the sum over its windows.
template<class T>
struct MeanBackward {
  PlaneWindows windows;
  const T* g;
  T* x;
  int count;
  __device__ void operator()(std::int64_t plane, int i) const {
    const T* const from = g + plane * windows.h.out * windows.w.out;
    cuda::Compute<T> sum = 0;
    windows.each_window(i, [&](int window) {
      sum +=
          static_cast<cuda::Compute<T>>(from[window]) / static_cast<cuda::Compute<T>>(windows.size(window));
    });
    x[plane * count + i] = T(sum);
  }
};

/// The functor of an operation with its tensors.
template<class T>
Max<T> functor(const MaxPool2d& op, Inputs x, const Tensor& y, std::span<Tensor> aux) {
  const PlaneWindows w(op.shape(op.name, x[0].shape()));
  return {w, x[0].raw<T>(), y.raw<T>(), aux.empty() ? nullptr : aux[0].raw<std::int32_t>(), w.count()};
}
template<class T>
MaxBackward<T> functor(const MaxPool2dBackward& op, Inputs x, const Tensor& y, std::span<Tensor>) {
  const PlaneWindows w(op.shape(op.name, y.shape()));
  return {w, x[0].raw<T>(), x[1].raw<std::int32_t>(), y.raw<T>(), w.pixels()};
}
template<class T>
Mean<T> functor(const AvgPool2d& op, Inputs x, const Tensor& y, std::span<Tensor>) {
  const PlaneWindows w(op.shape(op.name, x[0].shape()));
  return {w, x[0].raw<T>(), y.raw<T>(), w.count()};
}
template<class T>
MeanBackward<T> functor(const AvgPool2dBackward& op, Inputs x, const Tensor& y, std::span<Tensor>) {
  const PlaneWindows w(op.shape(op.name, y.shape()));
  return {w, x[0].raw<T>(), y.raw<T>(), w.pixels()};
}

/// Calls f(functor) for the dtype of y.
template<class Op, class F>
void visit_functor(const Op& op, Inputs x, const Tensor& y, std::span<Tensor> aux, F&& f) {
  visit_floating(y.dtype(), [&]<class T>(Type<T>) { f(functor<T>(op, x, y, aux)); });
}

// A thread computes one element of the result; n is their number.
template<class F>
__global__ void __launch_bounds__(threads) each(const F f, cuda::Divider by_count, std::int64_t n) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= n) return;
  const std::int64_t plane = n >> 32 ? i / f.count : by_count(static_cast<std::uint32_t>(i));
  f(plane, static_cast<int>(i - plane * f.count));
}

template<class F>
void run(std::string_view op, const Tensor& y, std::int64_t n, const F& f) {
  cuda::launch(op, {.device = y.device(), .grid = cuda::blocks_for(n, threads), .block = threads}, each<F>, f,
               cuda::Divider(static_cast<std::uint32_t>(f.count)), n);
}
template<class Op>
void run(const Op& op, Inputs x, const Tensor& y, std::span<Tensor> aux = {}) {
  if (y.numel() == 0) return;
  visit_functor(op, x, y, aux, [&](const auto& f) { run(op.name, y, y.numel(), f); });
}

}  // namespace

void MaxPool2d::cuda(Inputs x, Tensor& y, std::span<Tensor> aux) const { run(*this, x, y, aux); }
void MaxPool2dBackward::cuda(Inputs x, Tensor& y) const {
  if (adaptive || window.h > stride.h || window.w > stride.w || x[0].numel() == 0) return run(*this, x, y);
  visit_functor(*this, x, y, {}, [&]<class T>(const MaxBackward<T>& f) {
    run(name, y, x[0].numel(), MaxBackwardDisjoint<T>{f.windows, f.g, f.indices, f.x, f.windows.count()});
  });
}
void AvgPool2d::cuda(Inputs x, Tensor& y) const { run(*this, x, y); }
void AvgPool2dBackward::cuda(Inputs x, Tensor& y) const { run(*this, x, y); }

}  // namespace bobbin
