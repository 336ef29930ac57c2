// Sums over the elements of a row, and its statistics, on the CPU.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "ops/norm/cpu_statistics.h"

namespace bobbin {

/// The sums of `count` terms over n elements: add(i, k, sums) adds the terms of elements [i, i + k), at most
/// a vector. Sums of 512 elements are added in f64.
template<std::size_t count, class T, class F>
std::array<double, count> sums_of(std::int64_t n, F&& add) {
  constexpr std::int64_t chunk = 512, step = 2 * simd::lanes<T>;
  std::array<double, count> total{};
  for (std::int64_t c = 0; c < n; c += chunk) {
    const std::int64_t end = std::min(n, c + chunk);
    simd::Vector<T> even[count] = {}, odd[count] = {};
    std::int64_t i = c;
    for (; i + step <= end; i += step) {
      add(i, simd::lanes<T>, even);
      add(i + simd::lanes<T>, simd::lanes<T>, odd);
    }
    for (; i < end; i += simd::lanes<T>) add(i, std::min(simd::lanes<T>, end - i), even);
    for (std::size_t k = 0; k < count; ++k)
      total[k] += static_cast<double>(simd::reduce_sum<T>(even[k] + odd[k]));
  }
  return total;
}

/// The statistics of a row whose sums of squares leave the range of T, or nearly do.
template<class T>
RowStatistics<T> scaled_statistics(const T* x, std::int64_t n, bool centred, double eps) {
  T most = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(x[i])) return statistics<T>(0, static_cast<double>(x[i]) * 0, 0, 1, 0);  // NaN
    most = std::max(most, std::abs(x[i]));
  }
  const double unit = unit_of<T>(static_cast<double>(most), eps), share = 1 / static_cast<double>(n);
  double sum = 0, total = 0, squares = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * unit;
  const double shift = centred ? static_cast<double>(static_cast<T>(sum * share)) : 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(x[i]) * unit - shift;
    total += d;
    squares += d * d;
  }
  return statistics<T>(shift, centred ? total : 0, squares, share, eps * unit * unit, unit);
}

/// Statistics of fewer elements than a vector has, for which vectors cost more than they save.
template<class T>
RowStatistics<T> short_statistics(const T* x, std::int64_t n, double share, bool centred, double eps) {
  double sum = 0, total = 0, squares = 0;
  if (centred)
    for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]);
  const double shift = static_cast<double>(static_cast<T>(sum * share));
  for (std::int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(x[i]) - shift;
    total += d;
    squares += d * d;
  }
  if (sizeof(T) == 8 && !(std::isfinite(squares) && squares * share + eps > 0x1p-64))
    return scaled_statistics(x, n, centred, eps);
  return statistics<T>(shift, centred ? total : 0, squares, share, eps);
}

/// The mean first, then the sums of the differences to it, which correct its rounding, and of their squares.
/// `share` is 1 / n.
template<class T>
RowStatistics<T> statistics_of(const T* x, std::int64_t n, double share, bool centred, double eps) {
  if (n < simd::lanes<T>) return short_statistics(x, n, share, centred, eps);
  T shift = 0;
  if (centred)
    shift = static_cast<T>(share * sums_of<1, T>(n, [x](std::int64_t i, std::int64_t k, auto& sum) {
                             sum[0] += simd::load_n(x + i, k);
                           })[0]);
  const auto [total, squares] = sums_of<2, T>(n, [x, shift](std::int64_t i, std::int64_t k, auto& sum) {
    const simd::Vector<T> d = simd::load_n(x + i, k, shift) - simd::Vector<T>::all(shift);
    sum[0] += d;
    sum[1] += d * d;
  });
  if (!(std::isfinite(squares) && squares * share + eps > 0x1p-64))
    return scaled_statistics(x, n, centred, eps);
  return statistics<T>(static_cast<double>(shift), centred ? total : 0, squares, share, eps);
}

}  // namespace bobbin
