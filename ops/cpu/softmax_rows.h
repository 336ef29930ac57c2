// Computations on one row for softmax, log-softmax and cross-entropy on the CPU: its maximum, its
// exponentials and their sum. The order of additions is fixed, so results have the same bits in every run.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>

#include "ops/cpu/exponentials.h"

namespace bobbin::rows {

using simd::load_n, simd::store, simd::Vector;

/// Elements of a chunk. They are added in T, and the sums of chunks are added in double.
inline constexpr std::int64_t chunk = 512;
/// Vectors that one step of a pass over a row takes. Passes over several rows run step by step in turn.
inline constexpr std::int64_t vectors_in_step = 4;

/// The sum of f(i) over [0, n), in 16 partial sums for each chunk.
template<class T, class F>
double sum(std::int64_t n, F&& f) {
  constexpr std::int64_t partials = 16;
  double total = 0;
  for (std::int64_t c = 0; c < n; c += chunk) {
    const std::int64_t end = std::min(n, c + chunk);
    T partial[partials] = {};
    std::int64_t i = c;
    for (; i + partials <= end; i += partials)
      for (std::int64_t j = 0; j < partials; ++j) partial[j] += f(i + j);
    for (std::int64_t j = 0; i + j < end; ++j) partial[j] += f(i + j);
    for (std::int64_t width = partials / 2; width > 0; width /= 2)
      for (std::int64_t j = 0; j < width; ++j) partial[j] += partial[j + width];
    total += static_cast<double>(partial[0]);
  }
  return total;
}

/// Finds the largest element that is not NaN, step by step; -inf if there is none.
template<class T>
class Max {
 public:
  Max(const T* x, std::int64_t n) : x_(x), n_(n) {}
  [[gnu::always_inline]] void step() {
    if (next_ + vectors_in_step * width > n_) return;
#pragma GCC unroll 4
    for (std::int64_t k = 0; k < vectors_in_step; ++k) take(k % 2, width);
  }
  /// Takes the rest of the row.
  T finish() {
    while (next_ < n_) take(0, std::min(width, n_ - next_));
    return simd::reduce<T>(simd::max(max_[0], max_[1]),
                           [](const auto& p, const auto& q) { return p > q ? p : q; });
  }

 private:
  static constexpr std::int64_t width = simd::lanes<T>;
  static constexpr T none = -std::numeric_limits<T>::infinity();
  void take(std::int64_t accumulator, std::int64_t k) {
    __builtin_prefetch(x_ + next_ + chunk);
    max_[accumulator] = simd::max(load_n(x_ + next_, k, none), max_[accumulator]);
    next_ += width;
  }
  const T* x_;
  std::int64_t n_, next_ = 0;
  Vector<T> max_[2] = {Vector<T>::all(none), Vector<T>::all(none)};
};
template<class T>
T max(const T* x, std::int64_t n) {
  return Max<T>(x, n).finish();
}

/// The sum of the lanes in double.
template<class T>
double sum_lanes(const Vector<T>& v) {
  constexpr std::int64_t width = simd::lanes<T>;
  double lane[width];
  for (std::int64_t j = 0; j < width; ++j) lane[j] = static_cast<double>(v[j]);
  for (std::int64_t half = width / 2; half > 0; half /= 2)
    for (std::int64_t j = 0; j < half; ++j) lane[j] += lane[j + half];
  return lane[0];
}

/// y = e(x); returns the sum, where e(-inf) is 0. Calls between_steps() after each step. The vectors of a
/// step are added in pairs, and steps to two sums in turn: an element passes few additions on its way into
/// the total, so that the total is within about 2 ULP.
template<class T, class E, class F>
[[gnu::always_inline]] inline double apply_and_sum(const T* x, T* y, std::int64_t n, E e, F&& between_steps) {
  constexpr std::int64_t width = simd::lanes<T>;
  double total = 0;
  for (std::int64_t c = 0; c < n; c += chunk) {
    const std::int64_t end = std::min(n, c + chunk);
    Vector<T> sum{}, other{};
    const auto take = [&](std::int64_t i, std::int64_t k) {
      const Vector<T> v = e(load_n(x + i, k, -std::numeric_limits<T>::infinity()));
      k == width ? store<T>(v, y + i) : store<T>(v, y + i, k);
      return v;
    };
    const auto add = [&](const Vector<T>& v) {
      const Vector<T> next = other + v;
      other = sum;
      sum = next;
    };
    std::int64_t i = c;
    for (; i + vectors_in_step * width <= end; i += vectors_in_step * width) {
      const Vector<T> a = take(i, width) + take(i + width, width);
      add(a + (take(i + 2 * width, width) + take(i + 3 * width, width)));
      between_steps();
    }
    for (; i < end; i += width) add(take(i, std::min(width, end - i)));
    total += sum_lanes<T>(sum + other);
  }
  return total;
}

/// How far an element may exceed the m of exponentials().
inline constexpr float max_excess = 40;
/// y = exp(x - m) times a factor that depends on m alone; returns the sum, which is NaN if an element is NaN.
/// x <= m + max_excess; x and y may be the same. Calls between_steps() after each step.
template<class T, class F>
[[gnu::always_inline]] inline double exponentials(const T* x, T m, T* y, std::int64_t n, F&& between_steps) {
  return simd::with_exponential(
      m, [&](auto e) __attribute__((always_inline)) { return apply_and_sum(x, y, n, e, between_steps); });
}
template<class T>
double exponentials(const T* x, T m, T* y, std::int64_t n) {
  return exponentials(x, m, y, n, [] {});
}

/// The two terms of logsumexp: the maximum, and log1p of the sum of the other elements' exponentials.
template<class T>
struct LogSum {
  T max;
  double log_rest;
};
/// `scratch` holds n elements.
template<class T>
LogSum<T> log_sum(const T* x, T* scratch, std::int64_t n) {
  const T m = max(x, n);
  for (std::int64_t i = 0; i < n; ++i) scratch[i] = math::exp_difference(x[i], m);
  // The first maximum contributes exactly 1. log1p adds that 1 without rounding the other terms away.
  const auto first = std::find(x, x + n, m) - x;
  if (first < n) scratch[first] = 0;
  const double rest = sum<T>(n, [scratch](std::int64_t i) { return scratch[i]; });
  return {m, m - m == 0 ? std::log1p(rest) : std::numeric_limits<double>::quiet_NaN()};
}

}  // namespace bobbin::rows
