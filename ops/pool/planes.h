// What poolings share on the CPU: planes of images, and what is summed up in them.
#pragma once
#include <bobbin/parallel.h>

#include <algorithm>
#include <vector>

#include "ops/check.h"
#include "ops/pool/pool.h"

namespace bobbin {

template<class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// y's planes, each as sums that f(plane, sums) adds to in the type computed in.
template<class T, class F>
void sum_planes(const Tensor& y, F&& f) {
  const std::int64_t count = y.size(2) * y.size(3);
  parallel_for(y.size(0) * y.size(1), [&](std::int64_t plane) {
    T* const out = y.raw<T>() + plane * count;
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

inline TensorSpec pooled(std::string_view op, const Pool& pool, const Tensor& x) {
  require_floating(op, x);
  return {pool.shape(op, x.shape()).y, x.dtype(), x.device()};
}

/// The x that a backward operation gives the gradient of.
inline TensorSpec unpooled(std::string_view op, const Pool& pool, Pair size, const Tensor& g) {
  require_floating(op, g);
  if (g.rank() != 4) fail<ShapeError>(op, ": expected g [n, channels, oh, ow]; got ", g.spec());
  const PoolShape s = pool.shape(op, {g.size(0), g.size(1), size.h, size.w});
  if (g.shape() != s.y) fail<ShapeError>(op, ": expected g ", s.y, "; got ", g.spec());
  return {s.x, g.dtype(), g.device()};
}

inline Pair size_of_image(const Vjp& v) { return {v.spec(0).shape[2], v.spec(0).shape[3]}; }

}  // namespace bobbin
