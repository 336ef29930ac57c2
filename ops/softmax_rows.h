// What softmax, log_softmax and cross-entropy do to one row on the CPU. Sums go over fixed lanes and chunks,
// so that the compiler vectorises them and two runs agree to the bit.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>

#include "math.h"

namespace bobbin::rows {

inline constexpr std::int64_t lanes = 16, chunk = 512;

/// Sum of f(i) over [0, n): in T over lanes within a chunk, in double across chunks.
template<class T, class F>
double sum(std::int64_t n, F&& f) {
  double total = 0;
  for (std::int64_t c = 0; c < n; c += chunk) {
    const std::int64_t end = std::min(n, c + chunk);
    T lane[lanes] = {};
    std::int64_t i = c;
    for (; i + lanes <= end; i += lanes)
      for (std::int64_t j = 0; j < lanes; ++j) lane[j] += f(i + j);
    for (std::int64_t j = 0; i + j < end; ++j) lane[j] += f(i + j);
    for (std::int64_t width = lanes / 2; width > 0; width /= 2)
      for (std::int64_t j = 0; j < width; ++j) lane[j] += lane[j + width];
    total += static_cast<double>(lane[0]);
  }
  return total;
}

/// The largest element; -inf of none, NaN where there is one.
template<class T>
T max(const T* x, std::int64_t n) {
  T lane[lanes];
  std::fill(lane, lane + lanes, -std::numeric_limits<T>::infinity());
  bool nan = false;
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (std::int64_t j = 0; j < lanes; ++j) {
      lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
      nan |= x[i + j] != x[i + j];
    }
  for (std::int64_t j = 0; i + j < n; ++j) {
    lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    nan |= x[i + j] != x[i + j];
  }
  return nan ? std::numeric_limits<T>::quiet_NaN() : *std::max_element(lane, lane + lanes);
}

/// y = exp(x - m) where m is the row's maximum; returns the sum. x and y may be the same.
template<class T>
double exponentials(const T* x, T m, T* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = math::exp_difference(x[i], m);
  return sum<T>(n, [y](std::int64_t i) { return y[i]; });
}

/// The parts of logsumexp: m, and log1p of the other exponentials' sum. `scratch` holds n elements.
template<class T>
struct LogSum {
  T max;
  double log_rest;
};
template<class T>
LogSum<T> log_sum(const T* x, T* scratch, std::int64_t n) {
  const T m = max(x, n);
  for (std::int64_t i = 0; i < n; ++i) scratch[i] = math::exp_difference(x[i], m);
  // The first maximum contributes exactly 1, which log1p adds back without rounding the others away.
  const auto first = std::find(x, x + n, m) - x;
  if (first < n) scratch[first] = 0;
  const double rest = sum<T>(n, [scratch](std::int64_t i) { return scratch[i]; });
  return {m, m - m == 0 ? std::log1p(rest) : std::numeric_limits<double>::quiet_NaN()};
}

}  // namespace bobbin::rows
