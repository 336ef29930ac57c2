// What softmax, log_softmax and cross-entropy do to one row on the CPU. Sums go over fixed lanes and chunks,
// so that the compiler vectorises them and two runs agree to the bit.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>

#include "ops/cpu/exponentials.h"

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

/// Vectors that one step of a pass over a row takes: passes over several rows run beside each other by steps.
inline constexpr std::int64_t vectors_in_step = 4;

/// y = f, n elements of it, past the caches if `large`: f(i, k) gives elements i to i + k.
template<class T, class F>
class Writer {
 public:
  Writer(T* y, std::int64_t n, bool large, F f) : y_(y), n_(n), large_(large), f_(f) {
    if (!large) return;
    next_ = std::min(n, static_cast<std::int64_t>(-reinterpret_cast<std::uintptr_t>(y) % 64 / sizeof(T)));
    if (next_ > 0) store<T>(f_(std::int64_t{0}, next_), y_, next_);
  }
  [[gnu::always_inline]] void step() {
    if (next_ + vectors_in_step * width > n_) return;
#pragma GCC unroll 4
    for (std::int64_t k = 0; k < vectors_in_step; ++k) vector();
  }
  void rest() {
    while (next_ + width <= n_) vector();
    if (next_ < n_) store<T>(f_(next_, n_ - next_), y_ + next_, n_ - next_);
  }

 private:
  static constexpr std::int64_t width = lanes_of<T>;
  [[gnu::always_inline]] void vector() {
    const Vector<T> v = f_(next_, width);
    large_ ? stream<T>(v, y_ + next_) : store<T>(v, y_ + next_);
    next_ += width;
  }
  T* y_;
  std::int64_t n_, next_ = 0;
  bool large_;
  F f_;
};

/// The largest element that is not NaN; -inf of none.
template<class T>
class Max {
 public:
  Max(const T* x, std::int64_t n) : x_(x), n_(n) {}
  [[gnu::always_inline]] void step() {
    if (next_ + vectors_in_step * width > n_) return;
#pragma GCC unroll 4
    for (std::int64_t k = 0; k < vectors_in_step; ++k) take(k % 2, width);
  }
  T rest() {
    while (next_ < n_) take(0, std::min(width, n_ - next_));
    return fold<T>(larger(most_[0], most_[1]), [](const auto& p, const auto& q) { return p > q ? p : q; });
  }

 private:
  static constexpr std::int64_t width = lanes_of<T>;
  static constexpr T none = -std::numeric_limits<T>::infinity();
  void take(std::int64_t side, std::int64_t k) {
    __builtin_prefetch(x_ + next_ + chunk);
    most_[side] = larger(read(x_ + next_, k, none), most_[side]);
    next_ += width;
  }
  const T* x_;
  std::int64_t n_, next_ = 0;
  Vector<T> most_[2] = {Vector<T>::all(none), Vector<T>::all(none)};
};
template<class T>
T max(const T* x, std::int64_t n) {
  return Max<T>(x, n).rest();
}

/// y = e(x); returns the sum, where e of -inf is 0. Calls aside() after each step.
template<class T, class E, class Aside>
[[gnu::always_inline]] inline double sum_of(const T* x, T* y, std::int64_t n, E e, Aside&& aside) {
  constexpr std::int64_t width = lanes_of<T>;
  double total = 0;
  for (std::int64_t c = 0; c < n; c += chunk) {
    const std::int64_t end = std::min(n, c + chunk);
    Vector<T> sum{};
    const auto take = [&](std::int64_t i, std::int64_t k) {
      const Vector<T> v = e(read(x + i, k, -std::numeric_limits<T>::infinity()));
      k == width ? store<T>(v, y + i) : store<T>(v, y + i, k);
      sum += v;
    };
    std::int64_t i = c;
    for (; i + vectors_in_step * width <= end; i += vectors_in_step * width) {
#pragma GCC unroll 4
      for (std::int64_t k = 0; k < vectors_in_step; ++k) take(i + k * width, width);
      aside();
    }
    for (; i < end; i += width) take(i, std::min(width, end - i));
    total += static_cast<double>(sum_of_lanes<T>(sum));
  }
  return total;
}

/// y = exp(x - m), up to a factor that hangs on m alone; returns the sum, which is NaN where an element is.
/// x <= m + far, and x and y may be the same. Calls aside() now and then.
inline constexpr float far = 40;
template<class T, class Aside>
[[gnu::always_inline]] inline double exponentials(const T* x, T m, T* y, std::int64_t n, Aside&& aside) {
  return with_exponential(
      m, [&](auto e) __attribute__((always_inline)) { return sum_of(x, y, n, e, aside); });
}
template<class T>
double exponentials(const T* x, T m, T* y, std::int64_t n) {
  return exponentials(x, m, y, n, [] {});
}

/// The sum of a[i] b[i].
template<class T>
class Dot {
 public:
  Dot(const T* a, const T* b, std::int64_t n) : a_(a), b_(b), n_(n) {}
  [[gnu::always_inline]] void step() {
    if (next_ + vectors_in_step * width > n_) return;
#pragma GCC unroll 4
    for (std::int64_t k = 0; k < vectors_in_step; ++k) take(width);
    if (next_ % chunk == 0) end_chunk();
  }
  double rest() {
    while (next_ < n_) {
      take(std::min(width, n_ - next_));
      if (next_ % chunk == 0) end_chunk();
    }
    end_chunk();
    return total_;
  }

 private:
  static constexpr std::int64_t width = lanes_of<T>;
  void take(std::int64_t k) {
    sum_ += read(a_ + next_, k) * read(b_ + next_, k);
    next_ += width;
  }
  void end_chunk() {
    total_ += static_cast<double>(sum_of_lanes<T>(sum_));
    sum_ = Vector<T>{};
  }
  const T *a_, *b_;
  std::int64_t n_, next_ = 0;
  Vector<T> sum_{};
  double total_ = 0;
};

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
