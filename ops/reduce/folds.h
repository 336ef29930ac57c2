// The folds that reductions are made of, shared by g++ and nvcc. A fold F has for each result two words, `a`
// of type A and `b` of type B,
//
//   start(a, b, step)            no element yet
//   add(a, b, x, context)        one more; context = at(step, done)
//   merge(a, b, n, a2, b2, n2)   what n elements came to, and the n2 after them
//   value(a, b, n)               the result
//
// `words` says whether b is used, `counts` whether merge reads n and n2. Where b is an index, it counts steps
// while elements are added, of which name(b, first, stride) then makes the index.
#pragma once
#include <cmath>
#include <limits>
#include <type_traits>

#include "ops/scalar_math.h"

namespace bobbin::fold {

struct Plain {
  using B = std::int64_t;
  static constexpr int words = 1;
  static constexpr bool counts = false;
  BOBBIN_HD static int at(std::int64_t, std::int64_t) { return 0; }
};

template<class T, class Total>
struct Sum : Plain {
  using In = T;
  using A = Total;
  bool mean = false;
  BOBBIN_HD static void start(A& a, B&, std::int64_t) { a = 0; }
  BOBBIN_HD static void add(A& a, B&, T x, int) { a = plus(a, static_cast<A>(x)); }
  BOBBIN_HD static void merge(A& a, B&, std::int64_t, A a2, B, std::int64_t) { a = plus(a, a2); }
  BOBBIN_HD static double plus(double a, double b) { return a + b; }
  // A part may overflow where the whole does not.
  BOBBIN_HD static std::int64_t plus(std::int64_t a, std::int64_t b) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  }
  BOBBIN_HD A value(A a, B, std::int64_t n) const {
    if constexpr (std::is_same_v<A, double>)
      if (mean) return a / static_cast<double>(n);
    return a;
  }
};

/// The p-norm; 16-bit types and f32 cannot overflow in f64.
enum class Power { one, two, any };
template<Power power>
struct Norm : Plain {
  using In = double;
  using A = double;
  double p = 1;
  BOBBIN_HD double at(std::int64_t, std::int64_t) const { return p; }
  BOBBIN_HD static void start(A& a, B&, std::int64_t) { a = 0; }
  BOBBIN_HD static void add(A& a, B&, double x, double p) {
    if constexpr (power == Power::one)
      a += std::abs(x);
    else if constexpr (power == Power::two)
      a += x * x;
    else
      a += std::pow(std::abs(x), p);
  }
  BOBBIN_HD static void merge(A& a, B&, std::int64_t, A a2, B, std::int64_t) { a += a2; }
  BOBBIN_HD double value(A a, B, std::int64_t) const {
    if constexpr (power == Power::one)
      return a;
    else if constexpr (power == Power::two)
      return std::sqrt(a);
    else
      return std::pow(a, 1 / p);
  }
};

/// The largest magnitude, or NaN if there is one.
struct MaxNorm : Plain {
  using In = double;
  using A = double;
  BOBBIN_HD static void start(A& a, B&, std::int64_t) { a = 0; }
  BOBBIN_HD static void add(A& a, B&, double x, int) {
    const double m = std::abs(x);
    a = (m > a) | (m != m) ? m : a;
  }
  BOBBIN_HD static void merge(A& a, B& b, std::int64_t, A a2, B, std::int64_t) { add(a, b, a2, 0); }
  BOBBIN_HD double value(A a, B, std::int64_t) const { return a; }
};

/// The extreme and the index of the first one. A NaN goes before everything. Steps may be counted in a
/// narrower type than B.
template<class T, bool largest>
struct Extreme : Plain {
  using In = T;
  using A = T;
  static constexpr int words = 2;
  BOBBIN_HD static std::int64_t at(std::int64_t step, std::int64_t) { return step; }
  BOBBIN_HD static bool before(T x, T y) { return (largest ? x > y : x < y) | ((x != x) & (y == y)); }
  template<class Step>
  BOBBIN_HD static void start(A& a, Step& b, std::type_identity_t<Step> step) {
    using Limits = std::numeric_limits<T>;
    if constexpr (Limits::has_infinity)
      a = largest ? -Limits::infinity() : Limits::infinity();
    else
      a = largest ? Limits::min() : Limits::max();
    b = step;
  }
  template<class Step>
  BOBBIN_HD static void add(A& a, Step& b, T x, std::type_identity_t<Step> step) {
    const bool take = before(x, a);
    a = take ? x : a;
    b = take ? step : b;
  }
  BOBBIN_HD static void name(B& b, std::int64_t first, std::int64_t stride) { b = b * stride + first; }
  BOBBIN_HD static void merge(A& a, B& b, std::int64_t, A a2, B b2, std::int64_t) {
    const bool take = before(a2, a) | (!before(a, a2) & (b2 < b));
    a = take ? a2 : a;
    b = take ? b2 : b;
  }
  BOBBIN_HD A value(A a, B, std::int64_t) const { return a; }
};

/// a: the maximum so far; b: the sum of exp(x - a).
template<class T, class Max = double>
struct LogSumExp {
  using In = T;
  using A = Max;
  using B = double;
  static constexpr int words = 2;
  static constexpr bool counts = false;
  static constexpr double infinity = std::numeric_limits<double>::infinity();
  BOBBIN_HD static int at(std::int64_t, std::int64_t) { return 0; }
  BOBBIN_HD static void start(A& a, B& b, std::int64_t) { a = static_cast<A>(-infinity), b = 0; }
  BOBBIN_HD static void add(A& a, B& b, T x, int) {
    const T m = static_cast<T>(a), d = x == m ? T(0) : x - m;  // inf - inf counts as 0
    const double e = static_cast<double>(math::exp(-std::abs(d)));
    b = x > m ? b * e + 1 : b + e;
    a = x > m ? static_cast<A>(x) : a;
  }
  BOBBIN_HD static void merge(A& a, B& b, std::int64_t, A a2, B b2, std::int64_t) {
    const T d = a2 == a ? T(0) : static_cast<T>(a2 - a);
    const double e = static_cast<double>(math::exp(-std::abs(d)));
    b = a2 > a ? b * e + b2 : b + b2 * e;
    a = a2 > a ? a2 : a;
  }
  BOBBIN_HD double value(A a, B b, std::int64_t) const {
    return a == -infinity && b == b ? a : a + std::log(b);
  }
};

/// a: the mean so far; b: the sum of squared deviations from it (Welford; merged as Chan, Golub and LeVeque
/// do).
struct Variance {
  using In = double;
  using A = double;
  using B = double;
  static constexpr int words = 2;
  static constexpr bool counts = true;
  double correction = 1;
  bool root = false;
  BOBBIN_HD static double at(std::int64_t, std::int64_t done) { return 1 / static_cast<double>(done + 1); }
  BOBBIN_HD static void start(A& a, B& b, std::int64_t) { a = b = 0; }
  BOBBIN_HD static void add(A& a, B& b, double x, double weight) {
    const double d = x - a;
    a += d * weight;
    b += d * (x - a);
  }
  BOBBIN_HD static void merge(A& a, B& b, std::int64_t n, A a2, B b2, std::int64_t n2) {
    const double d = a2 - a, share = static_cast<double>(n2) / static_cast<double>(n + n2);
    a += d * share;
    b += b2 + d * d * (static_cast<double>(n) * share);
  }
  BOBBIN_HD double value(A, B b, std::int64_t n) const {
    const double freedom = static_cast<double>(n) - correction;
    if (!(freedom > 0)) return std::numeric_limits<double>::quiet_NaN();
    return root ? std::sqrt(b / freedom) : b / freedom;
  }
};

}  // namespace bobbin::fold
