// The reducers: the mathematics of each reduction, for CPU and GPU. A reducer F keeps an accumulator of two
// values for each result, `a` of type F::A and `b` of type F::B:
//
//   init(a, b, step)                   the accumulator of no elements
//   reduce(a, b, x, context)           adds one element x; context = context(step, count)
//   combine(a, b, n, a2, b2, n2)       adds the accumulator of the n2 elements that follow these n
//   project(a, b, n)                   the result of n elements
//
// Elements arrive as F::In. `step` numbers the elements that one accumulator gets; `count` is how many it
// has. `values` is 2 where b is used, else 1; `counts` says whether combine reads n and n2. In an argmax, b
// is a step until index(b, first, stride) replaces it by the element's index, first + step * stride.
#pragma once
#include <cmath>
#include <limits>
#include <type_traits>

#include "ops/scalar_math.h"

namespace bobbin::reducer {

/// Of one value, that needs no count and no context.
struct OneValue {
  using B = std::int64_t;
  static constexpr int values = 1;
  static constexpr bool counts = false;
  BOBBIN_HD static int context(std::int64_t, std::int64_t) { return 0; }
};

/// The sum, or the mean.
template<class T, class Total>
struct Sum : OneValue {
  using In = T;
  using A = Total;
  bool mean = false;
  BOBBIN_HD static void init(A& a, B&, std::int64_t) { a = 0; }
  BOBBIN_HD static void reduce(A& a, B&, T x, int) { a = plus(a, static_cast<A>(x)); }
  BOBBIN_HD static void combine(A& a, B&, std::int64_t, A a2, B, std::int64_t) { a = plus(a, a2); }
  BOBBIN_HD static double plus(double a, double b) { return a + b; }
  // Unsigned: a partial sum may overflow where the whole sum does not.
  BOBBIN_HD static std::int64_t plus(std::int64_t a, std::int64_t b) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  }
  BOBBIN_HD A project(A a, B, std::int64_t n) const {
    if constexpr (std::is_same_v<A, double>)
      if (mean) return a / static_cast<double>(n);
    return a;
  }
};

/// The p-norm. Its sum is f64, where squares of f32 and 16-bit elements do not overflow.
enum class Power { one, two, any };
template<Power power>
struct Norm : OneValue {
  using In = double;
  using A = double;
  double p = 1;
  BOBBIN_HD double context(std::int64_t, std::int64_t) const { return p; }
  BOBBIN_HD static void init(A& a, B&, std::int64_t) { a = 0; }
  BOBBIN_HD static void reduce(A& a, B&, double x, double p) {
    if constexpr (power == Power::one)
      a += std::abs(x);
    else if constexpr (power == Power::two)
      a += x * x;
    else
      a += std::pow(std::abs(x), p);
  }
  BOBBIN_HD static void combine(A& a, B&, std::int64_t, A a2, B, std::int64_t) { a += a2; }
  BOBBIN_HD double project(A a, B, std::int64_t) const {
    if constexpr (power == Power::one)
      return a;
    else if constexpr (power == Power::two)
      return std::sqrt(a);
    else
      return std::pow(a, 1 / p);
  }
};

/// The largest magnitude, or NaN if there is one.
struct MaxNorm : OneValue {
  using In = double;
  using A = double;
  BOBBIN_HD static void init(A& a, B&, std::int64_t) { a = 0; }
  BOBBIN_HD static void reduce(A& a, B&, double x, int) {
    const double m = std::abs(x);
    a = ((m > a) | (m != m)) ? m : a;
  }
  BOBBIN_HD static void combine(A& a, B& b, std::int64_t, A a2, B, std::int64_t) { reduce(a, b, a2, 0); }
  BOBBIN_HD double project(A a, B, std::int64_t) const { return a; }
};

/// a: the largest (or smallest) element; b: the index of the first such element. A NaN beats everything. The
/// caller may keep b in a narrower type than B while it is a step.
template<class T, bool largest>
struct Extreme : OneValue {
  using In = T;
  using A = T;
  static constexpr int values = 2;
  BOBBIN_HD static std::int64_t context(std::int64_t step, std::int64_t) { return step; }
  BOBBIN_HD static bool better(T x, T y) { return (largest ? x > y : x < y) | ((x != x) & (y == y)); }
  template<class Step>
  BOBBIN_HD static void init(A& a, Step& b, std::type_identity_t<Step> step) {
    using Limits = std::numeric_limits<T>;
    if constexpr (Limits::has_infinity)
      a = largest ? -Limits::infinity() : Limits::infinity();
    else
      a = largest ? Limits::min() : Limits::max();
    b = step;
  }
  template<class Step>
  BOBBIN_HD static void reduce(A& a, Step& b, T x, std::type_identity_t<Step> step) {
    const bool take = better(x, a);
    a = take ? x : a;
    b = take ? step : b;
  }
  BOBBIN_HD static void index(B& b, std::int64_t first, std::int64_t stride) { b = b * stride + first; }
  BOBBIN_HD static void combine(A& a, B& b, std::int64_t, A a2, B b2, std::int64_t) {
    const bool take = better(a2, a) | (!better(a, a2) & (b2 < b));
    a = take ? a2 : a;
    b = take ? b2 : b;
  }
  BOBBIN_HD A project(A a, B, std::int64_t) const { return a; }
};

/// a: the maximum of the elements; b: the sum of exp(x - a).
template<class T, class Max = double>
struct LogSumExp {
  using In = T;
  using A = Max;
  using B = double;
  static constexpr int values = 2;
  static constexpr bool counts = false;
  static constexpr double infinity = std::numeric_limits<double>::infinity();
  BOBBIN_HD static int context(std::int64_t, std::int64_t) { return 0; }
  BOBBIN_HD static void init(A& a, B& b, std::int64_t) { a = static_cast<A>(-infinity), b = 0; }
  BOBBIN_HD static void reduce(A& a, B& b, T x, int) {
    const T m = static_cast<T>(a), d = x == m ? T(0) : x - m;  // inf - inf is 0 here
    const double e = static_cast<double>(math::exp(-std::abs(d)));
    b = x > m ? b * e + 1 : b + e;
    a = x > m ? static_cast<A>(x) : a;
  }
  BOBBIN_HD static void combine(A& a, B& b, std::int64_t, A a2, B b2, std::int64_t) {
    const T d = a2 == a ? T(0) : static_cast<T>(a2 - a);
    const double e = static_cast<double>(math::exp(-std::abs(d)));
    b = a2 > a ? b * e + b2 : b + b2 * e;
    a = a2 > a ? a2 : a;
  }
  BOBBIN_HD double project(A a, B b, std::int64_t) const {
    return a == -infinity && b == b ? a : a + std::log(b);
  }
};

/// a: the mean of the elements; b: the sum of squared deviations from it. reduce() is Welford's update,
/// combine() that of Chan, Golub and LeVeque.
struct Variance {
  using In = double;
  using A = double;
  using B = double;
  static constexpr int values = 2;
  static constexpr bool counts = true;
  double correction = 1;
  bool root = false;
  BOBBIN_HD static double context(std::int64_t, std::int64_t count) {
    return 1 / static_cast<double>(count + 1);
  }
  BOBBIN_HD static void init(A& a, B& b, std::int64_t) { a = b = 0; }
  BOBBIN_HD static void reduce(A& a, B& b, double x, double weight) {
    const double d = x - a;
    a += d * weight;
    b += d * (x - a);
  }
  BOBBIN_HD static void combine(A& a, B& b, std::int64_t n, A a2, B b2, std::int64_t n2) {
    const double d = a2 - a, share = static_cast<double>(n2) / static_cast<double>(n + n2);
    a += d * share;
    b += b2 + d * d * (static_cast<double>(n) * share);
  }
  BOBBIN_HD double project(A, B b, std::int64_t n) const {
    const double freedom = static_cast<double>(n) - correction;
    if (!(freedom > 0)) return std::numeric_limits<double>::quiet_NaN();
    return root ? std::sqrt(b / freedom) : b / freedom;
  }
};

}  // namespace bobbin::reducer
