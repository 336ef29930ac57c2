// Loops over planes for the CPU kernels of max_pool2d and avg_pool2d. A plane is one channel of one image.
#pragma once
#include <bobbin/parallel.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "ops/check.h"
#include "ops/pool/pool.h"

namespace bobbin {

/// The type in which elements of type T are compared and summed.
template<class T>
using PoolCompute = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// Computes the planes of y on several threads: sets the sums of a plane to 0, and f(plane, sums) adds to
/// them.
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
