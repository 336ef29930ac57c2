// What becomes of one element of a pooling, shared by g++ and nvcc: calls of f(plane, i), for each of f.count
// elements i of a plane.
#pragma once
#include "pool.h"

namespace bobbin::pool {

template<class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// y[i] and its place, from x.
template<class T>
struct Max {
  Windows down, along;
  const T* x;
  T* y;
  std::int64_t* places;  // may be null
  int count;
  BOBBIN_HD void operator()(std::int64_t plane, int i) const {
    const int oy = i / along.out, ox = i % along.out;
    const int y0 = down.begin(oy) < 0 ? 0 : down.begin(oy),
              y1 = down.end(oy) < down.in ? down.end(oy) : down.in;
    const int x0 = along.begin(ox) < 0 ? 0 : along.begin(ox),
              x1 = along.end(ox) < along.in ? along.end(ox) : along.in;
    const T* const from = x + plane * down.in * along.in;
    int best = y0 * along.in + x0;
    Wide<T> most = static_cast<Wide<T>>(from[best]);
    for (int r = y0; r < y1; ++r)
      for (int c = x0; c < x1; ++c) {
        const auto v = static_cast<Wide<T>>(from[r * along.in + c]);
        if (v > most || (v != v && most == most)) {
          most = v;
          best = r * along.in + c;
        }
      }
    y[plane * count + i] = from[best];
    if (places) places[plane * count + i] = best;
  }
};

/// The gradient of pixel i: from the windows whose largest element it was.
template<class T>
struct MaxBackward {
  Windows down, along;
  const T* g;
  const std::int64_t* places;
  T* x;
  int count;
  BOBBIN_HD void operator()(std::int64_t plane, int i) const {
    const int r = i / along.in, c = i % along.in;
    const std::int64_t from = plane * down.out * along.out;
    Wide<T> sum = 0;
    for (int oy = down.first(r); oy < down.last(r); ++oy)
      for (int ox = along.first(c); ox < along.last(c); ++ox) {
        const std::int64_t at = from + oy * along.out + ox;
        if (places[at] == i) sum += static_cast<Wide<T>>(g[at]);
      }
    x[plane * count + i] = T(sum);
  }
};

/// How many elements count for the mean of window i: padding does.
BOBBIN_HD inline int elements(const Windows& w, int i) { return w.end(i) - w.begin(i); }

template<class T>
struct Mean {
  Windows down, along;
  const T* x;
  T* y;
  int count;
  BOBBIN_HD void operator()(std::int64_t plane, int i) const {
    const int oy = i / along.out, ox = i % along.out;
    const int y0 = down.begin(oy) < 0 ? 0 : down.begin(oy),
              y1 = down.end(oy) < down.in ? down.end(oy) : down.in;
    const int x0 = along.begin(ox) < 0 ? 0 : along.begin(ox),
              x1 = along.end(ox) < along.in ? along.end(ox) : along.in;
    const T* const from = x + plane * down.in * along.in;
    Wide<T> sum = 0;
    for (int r = y0; r < y1; ++r)
      for (int c = x0; c < x1; ++c) sum += static_cast<Wide<T>>(from[r * along.in + c]);
    y[plane * count + i] = T(sum / static_cast<Wide<T>>(elements(down, oy) * elements(along, ox)));
  }
};

template<class T>
struct MeanBackward {
  Windows down, along;
  const T* g;
  T* x;
  int count;
  BOBBIN_HD void operator()(std::int64_t plane, int i) const {
    const int r = i / along.in, c = i % along.in;
    const T* const from = g + plane * down.out * along.out;
    Wide<T> sum = 0;
    for (int oy = down.first(r); oy < down.last(r); ++oy)
      for (int ox = along.first(c); ox < along.last(c); ++ox)
        sum += static_cast<Wide<T>>(from[oy * along.out + ox]) /
               static_cast<Wide<T>>(elements(down, oy) * elements(along, ox));
    x[plane * count + i] = T(sum);
  }
};

/// The functor of an operation, from its tensors.
template<class T>
Max<T> functor(const MaxPool2d& op, Inputs x, const Tensor& y, std::span<Tensor> aux) {
  const PoolShape s = op.shape(op.name, x[0].shape());
  return {s.down,
          s.along,
          static_cast<const T*>(x[0].raw()),
          static_cast<T*>(y.raw()),
          aux.empty() ? nullptr : static_cast<std::int64_t*>(aux[0].raw()),
          s.down.out * s.along.out};
}
template<class T>
MaxBackward<T> functor(const MaxPool2dBackward& op, Inputs x, const Tensor& y, std::span<Tensor>) {
  const PoolShape s = op.shape(op.name, y.shape());
  return {s.down,
          s.along,
          static_cast<const T*>(x[0].raw()),
          static_cast<const std::int64_t*>(x[1].raw()),
          static_cast<T*>(y.raw()),
          s.down.in * s.along.in};
}
template<class T>
Mean<T> functor(const AvgPool2d& op, Inputs x, const Tensor& y, std::span<Tensor>) {
  const PoolShape s = op.shape(op.name, x[0].shape());
  return {s.down, s.along, static_cast<const T*>(x[0].raw()), static_cast<T*>(y.raw()),
          s.down.out * s.along.out};
}
template<class T>
MeanBackward<T> functor(const AvgPool2dBackward& op, Inputs x, const Tensor& y, std::span<Tensor>) {
  const PoolShape s = op.shape(op.name, y.shape());
  return {s.down, s.along, static_cast<const T*>(x[0].raw()), static_cast<T*>(y.raw()),
          s.down.in * s.along.in};
}

/// Calls f(functor) for the dtype of y.
template<class Op, class F>
void visit(const Op& op, Inputs x, const Tensor& y, std::span<Tensor> aux, F&& f) {
  bobbin::visit(y.dtype(), [&]<class T>(Type<T>) {
    if constexpr (!std::is_integral_v<T>) f(functor<T>(op, x, y, aux));
  });
}

}  // namespace bobbin::pool
