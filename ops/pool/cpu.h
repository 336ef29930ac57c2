// What the CPU kernels of max_pool2d and avg_pool2d share: planes, which are the channels of images.
#pragma once
#include <bobbin/parallel.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "ops/check.h"
#include "ops/pool/pool.h"

namespace bobbin {

/// The type that elements of type T are compared and summed in.
template<class T>
using PoolCompute = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// Computes each plane of y as sums, which begin with 0 and to which f(plane, sums) adds. On several threads.
template<class T, class F>
void sum_planes(const Tensor& y, F&& f) {
  const std::int64_t count = y.size(2) * y.size(3);
  parallel_for(y.size(0) * y.size(1), [&](std::int64_t plane) {
    T* const out = y.raw<T>() + plane * count;
    if constexpr (std::is_same_v<T, PoolCompute<T>>) {
      std::fill_n(out, count, T(0));
      f(plane, out);
    } else {
      std::vector<PoolCompute<T>> sums(static_cast<std::size_t>(count));
      f(plane, sums.data());
      std::transform(sums.begin(), sums.end(), out, [](PoolCompute<T> v) { return T(v); });
    }
  });
}

}  // namespace bobbin
