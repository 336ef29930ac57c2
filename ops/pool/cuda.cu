// Pooling on a GPU: a thread for each element of the result, which gathers what it is made of.
#include "core/cuda/runtime.h"
#include "core/cuda/strided.cuh"
#include "ops/check.h"
#include "ops/pool/pool.h"

namespace bobbin {
namespace {

constexpr int threads = 256;

template<class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// Windows along an axis, which finds those of an element without divisions.
struct Axis : Windows {
  cuda::Divider by_out, by_in, by_stride;
  explicit Axis(const Windows& w)
      : Windows(w),
        by_out(static_cast<std::uint32_t>(w.out)),
        by_in(static_cast<std::uint32_t>(w.in)),
        by_stride(static_cast<std::uint32_t>(w.stride)) {}
  __device__ int first(int x) const {
    if (adaptive) return Windows::first(x);
    const int from = x + padding - size + 1;
    return from <= 0 ? 0 : static_cast<int>(by_stride(static_cast<std::uint32_t>(from + stride - 1)));
  }
  __device__ int last(int x) const {
    if (adaptive) return Windows::last(x);
    return min(static_cast<int>(by_stride(static_cast<std::uint32_t>(x + padding))) + 1, out);
  }
};

/// Calls f(element) for those of the image that window i has, row by row.
template<class F>
__device__ void each_element(const Axis& down, const Axis& along, int i, F&& f) {
  const int oy = static_cast<int>(along.by_out(static_cast<std::uint32_t>(i))), ox = i - oy * along.out;
  const auto inside = [](int x, int size) { return x < 0 ? 0 : x < size ? x : size; };
  for (int r = inside(down.begin(oy), down.in); r < inside(down.end(oy), down.in); ++r)
    for (int c = inside(along.begin(ox), along.in); c < inside(along.end(ox), along.in); ++c)
      f(r * along.in + c);
}

/// Calls f(window) for the windows that may hold element i.
template<class F>
__device__ void each_window(const Axis& down, const Axis& along, int i, F&& f) {
  const int r = static_cast<int>(along.by_in(static_cast<std::uint32_t>(i))), c = i - r * along.in;
  for (int oy = down.first(r); oy < down.last(r); ++oy)
    for (int ox = along.first(c); ox < along.last(c); ++ox) f(oy * along.out + ox);
}

/// How many elements window i's mean is over: padding counts.
__device__ int elements(const Axis& down, const Axis& along, int i) {
  const int oy = static_cast<int>(along.by_out(static_cast<std::uint32_t>(i))), ox = i - oy * along.out;
  return (down.end(oy) - down.begin(oy)) * (along.end(ox) - along.begin(ox));
}

/// y[i] and its place, from x.
template<class T>
struct Max {
  Axis down, along;
  const T* x;
  T* y;
  std::int32_t* places;  // may be null
  int count;
  __device__ void operator()(std::int64_t plane, int i) const {
    const T* const from = x + plane * down.in * along.in;
    int best = -1;
    Wide<T> most = 0;
    each_element(down, along, i, [&](int at) {
      const auto v = static_cast<Wide<T>>(from[at]);
      if (best >= 0 && !(v > most || (v != v && most == most))) return;
      most = v;
      best = at;
    });
    y[plane * count + i] = from[best];
    if (places) places[plane * count + i] = best;
  }
};

/// The gradient of pixel i: from the windows whose largest element it was.
template<class T>
struct MaxBackward {
  Axis down, along;
  const T* g;
  const std::int32_t* places;
  T* x;
  int count;
  __device__ void operator()(std::int64_t plane, int i) const {
    const std::int64_t from = plane * down.out * along.out;
    Wide<T> sum = 0;
    each_window(down, along, i, [&](int window) {
      if (places[from + window] == i) sum += static_cast<Wide<T>>(g[from + window]);
    });
    x[plane * count + i] = T(sum);
  }
};

/// The same where windows do not overlap: window i's part of the image, up to the next window.
template<class T>
struct MaxBackwardApart {
  Axis down, along;
  const T* g;
  const std::int32_t* places;
  T* x;
  int count;  // windows
  __device__ void operator()(std::int64_t plane, int i) const {
    const int oy = static_cast<int>(along.by_out(static_cast<std::uint32_t>(i))), ox = i - oy * along.out;
    const std::int64_t from = plane * count + i;
    const int place = places[from];
    const T gradient = g[from];
    T* const to = x + plane * down.in * along.in;
    for (int r = down.part(oy); r < down.part(oy + 1); ++r)
      for (int c = along.part(ox); c < along.part(ox + 1); ++c) {
        const int at = r * along.in + c;
        to[at] = at == place ? gradient : T(0.f);
      }
  }
};

template<class T>
struct Mean {
  Axis down, along;
  const T* x;
  T* y;
  int count;
  __device__ void operator()(std::int64_t plane, int i) const {
    const T* const from = x + plane * down.in * along.in;
    Wide<T> sum = 0;
    each_element(down, along, i, [&](int at) { sum += static_cast<Wide<T>>(from[at]); });
    y[plane * count + i] = T(sum / static_cast<Wide<T>>(elements(down, along, i)));
  }
};

template<class T>
struct MeanBackward {
  Axis down, along;
  const T* g;
  T* x;
  int count;
  __device__ void operator()(std::int64_t plane, int i) const {
    const T* const from = g + plane * down.out * along.out;
    Wide<T> sum = 0;
    each_window(down, along, i, [&](int window) {
      sum += static_cast<Wide<T>>(from[window]) / static_cast<Wide<T>>(elements(down, along, window));
    });
    x[plane * count + i] = T(sum);
  }
};

/// The functor of an operation, from its tensors.
template<class T>
Max<T> functor(const MaxPool2d& op, Inputs x, const Tensor& y, std::span<Tensor> aux) {
  const PoolShape s = op.shape(op.name, x[0].shape());
  return {Axis(s.down),
          Axis(s.along),
          x[0].raw<T>(),
          y.raw<T>(),
          aux.empty() ? nullptr : aux[0].raw<std::int32_t>(),
          s.down.out * s.along.out};
}
template<class T>
MaxBackward<T> functor(const MaxPool2dBackward& op, Inputs x, const Tensor& y, std::span<Tensor>) {
  const PoolShape s = op.shape(op.name, y.shape());
  return {Axis(s.down), Axis(s.along),         x[0].raw<T>(), x[1].raw<std::int32_t>(),
          y.raw<T>(),   s.down.in * s.along.in};
}
template<class T>
Mean<T> functor(const AvgPool2d& op, Inputs x, const Tensor& y, std::span<Tensor>) {
  const PoolShape s = op.shape(op.name, x[0].shape());
  return {Axis(s.down), Axis(s.along), x[0].raw<T>(), y.raw<T>(), s.down.out * s.along.out};
}
template<class T>
MeanBackward<T> functor(const AvgPool2dBackward& op, Inputs x, const Tensor& y, std::span<Tensor>) {
  const PoolShape s = op.shape(op.name, y.shape());
  return {Axis(s.down), Axis(s.along), x[0].raw<T>(), y.raw<T>(), s.down.in * s.along.in};
}

/// Calls f(functor) for the dtype of y.
template<class Op, class F>
void visit_functor(const Op& op, Inputs x, const Tensor& y, std::span<Tensor> aux, F&& f) {
  visit_floating(y.dtype(), [&]<class T>(Type<T>) { f(functor<T>(op, x, y, aux)); });
}

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
    run(name, y, x[0].numel(),
        MaxBackwardApart<T>{f.down, f.along, f.g, f.places, f.x, f.down.out * f.along.out});
  });
}
void AvgPool2d::cuda(Inputs x, Tensor& y) const { run(*this, x, y); }
void AvgPool2dBackward::cuda(Inputs x, Tensor& y) const { run(*this, x, y); }

}  // namespace bobbin
