// What softmax, log_softmax and cross-entropy do to one row on the CPU. Sums go over fixed lanes and chunks,
// so that the compiler vectorises them and two runs agree to the bit.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>

#include "vectors.h"

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

/// The largest element that is not NaN; -inf of none.
template<class T>
T max(const T* x, std::int64_t n) {
  constexpr T none = -std::numeric_limits<T>::infinity();
  constexpr std::int64_t width = lanes_of<T>;
  Vector<T> a = Vector<T>{} + none, b = a;
  std::int64_t i = 0;
  for (; i + 2 * width <= n; i += 2 * width) {
    const Vector<T> v = load(x + i), w = load(x + i + width);
    a = v > a ? v : a;
    b = w > b ? w : b;
  }
  for (; i < n; i += width) {
    const Vector<T> v = n - i >= width ? load(x + i) : load(x + i, n - i, none);
    a = v > a ? v : a;
  }
  return fold<T>(a > b ? a : b, [](const auto& p, const auto& q) { return p > q ? p : q; });
}

/// y = exp(x - m) where m is the row's maximum; returns the sum, which is NaN where an element is. x and y
/// may be the same.
template<class T>
double exponentials(const T* x, T m, T* y, std::int64_t n) {
  constexpr std::int64_t width = lanes_of<T>;
  const Vector<T> all = Vector<T>{} + m;
  double total = 0;
  for (std::int64_t c = 0; c < n; c += chunk) {
    const std::int64_t end = std::min(n, c + chunk);
    Vector<T> sum{};
    std::int64_t i = c;
    for (; i + width <= end; i += width) {
      __builtin_prefetch(x + n + i, 0, 2);  // of the next row, whose maximum is looked for next
      const Vector<T> e = exp_difference(load(x + i), all);
      store<T>(e, y + i);
      sum += e;
    }
    if (i < end) {
      Vector<T> e = exp_difference(load(x + i, end - i, m), all);
      store<T>(e, y + i, end - i);
      for (std::int64_t j = end - i; j < width; ++j) e[j] = 0;
      sum += e;
    }
    total += static_cast<double>(sum_of_lanes<T>(sum));
  }
  return total;
}

/// The sum of a[i] b[i].
template<class T>
double dot(const T* a, const T* b, std::int64_t n) {
  constexpr std::int64_t width = lanes_of<T>;
  double total = 0;
  for (std::int64_t c = 0; c < n; c += chunk) {
    const std::int64_t end = std::min(n, c + chunk);
    Vector<T> sum{};
    std::int64_t i = c;
    for (; i + width <= end; i += width) sum += load(a + i) * load(b + i);
    if (i < end) sum += load(a + i, end - i, T(0)) * load(b + i, end - i, T(0));
    total += static_cast<double>(sum_of_lanes<T>(sum));
  }
  return total;
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
