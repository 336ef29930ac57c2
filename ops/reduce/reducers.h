// The reducers: the mathematics of each reduction, for CPU and GPU. A reducer F keeps an accumulator of two
// values for each result, `a` of type F::A and `b` of type F::B:
//
//   init(a, b, step)                   the accumulator of no elements
//   reduce(a, b, x, context)           adds one element x; context = context(step, count)
//   combine(a, b, n, a2, b2, n2)       adds the accumulator of the n2 elements that follow these n; may read
//                                      the reducer's fields, as project may
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

/// The p-norm for p = 1, and for p = 2 of elements that are no f64: its sum is f64, where their squares do
/// not overflow.
enum class Power { one, two };
template<Power power>
struct Norm : OneValue {
  using In = double;
  using A = double;
  BOBBIN_HD static void init(A& a, B&, std::int64_t) { a = 0; }
  BOBBIN_HD static void reduce(A& a, B&, double x, int) {
    if constexpr (power == Power::one)
      a += std::abs(x);
    else
      a += x * x;
  }
  BOBBIN_HD static void combine(A& a, B&, std::int64_t, A a2, B, std::int64_t) { a += a2; }
  BOBBIN_HD double project(A a, B, std::int64_t) const { return power == Power::one ? a : std::sqrt(a); }
};

/// The 2-norm of f64 elements. a: the sum of the squares that are in range. b: the sum of 2^-1200 times the
/// squares of elements above 2^480 or, where there are none, minus the sum of 2^1200 times the squares of
/// those below 2^-480. So no square overflows or is lost. (J. Blue, A portable Fortran program to find the
/// Euclidean norm of a vector, 1978.)
struct WideNorm {
  using In = double;
  using A = double;
  using B = double;
  static constexpr int values = 2;
  static constexpr bool counts = false;
  BOBBIN_HD static int context(std::int64_t, std::int64_t) { return 0; }
  BOBBIN_HD static void init(A& a, B& b, std::int64_t) { a = b = 0; }
  BOBBIN_HD static void reduce(A& a, B& b, double x, int) {
    const double m = std::abs(x);
    const bool large = m > 0x1p480, small = m < 0x1p-480;
    const double scaled = m * (large ? 0x1p-600 : small ? 0x1p600 : 1);
    a = (large | small) ? a : a + scaled * scaled;
    b = large ? (b > 0 ? b : 0) + scaled * scaled : (small & !(b > 0)) ? b - scaled * scaled : b;
  }
  BOBBIN_HD static void combine(A& a, B& b, std::int64_t, A a2, B b2, std::int64_t) {
    a += a2;
    b = (b > 0) == (b2 > 0) ? b + b2 : b > b2 ? b : b2;
  }
  BOBBIN_HD double project(A a, B b, std::int64_t) const {
    constexpr double down = 0x1p-600;
    if (b > 0) return std::sqrt(b + a * down * down) * 0x1p600;
    return a == 0 ? std::sqrt(-b) * down : std::sqrt(a - b * down * down);
  }
};

/// The p-norm for any p. a: the sum of (|x| / b)^p. The unit b is 1 until a power is far from 1; then it is
/// the element of that power. The rounding of 1 / p costs as many units as the sum has binary digits before
/// or behind the point.
struct PowerNorm {
  using In = double;
  using A = double;
  using B = double;
  static constexpr int values = 2;
  static constexpr bool counts = false;
  static constexpr double most = 0x1p48, least = 0x1p-48;
  double p = 1;
  BOBBIN_HD double context(std::int64_t, std::int64_t) const { return p; }
  BOBBIN_HD static void init(A& a, B& b, std::int64_t) { a = 0, b = 1; }
  BOBBIN_HD static void reduce(A& a, B& b, double x, double p) {
    const double m = std::abs(x), power = m == b ? 1 : std::pow(m / b, p);
    if (power > most || (power < least && a == 0 && m > 0)) {
      a = a == 0 ? 1 : a * std::pow(b / m, p) + 1;
      b = m;
    } else {
      a += power;
    }
  }
  BOBBIN_HD void combine(A& a, B& b, std::int64_t, A a2, B b2, std::int64_t) const {
    if (b == b2 || a2 == 0) {
      a += a2;
    } else if (a == 0) {
      a = a2, b = b2;
    } else {
      // The greater of the two norms is the new unit.
      const double one = project(a, b, 0), other = project(a2, b2, 0);
      const double high = one < other ? other : one, low = one < other ? one : other;
      a = 1 + (low == high ? 1 : std::pow(low / high, p));
      b = high;
    }
  }
  BOBBIN_HD double project(A a, B b, std::int64_t) const { return b * std::pow(a, 1 / p); }
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

/// a: the largest (or smallest) element; b: the index of the first such element. A NaN beats everything, and
/// the result is then the positive quiet NaN, whatever sign and payload it has. The caller may keep b in a
/// narrower type than B while it is a step.
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
  BOBBIN_HD A project(A a, B, std::int64_t) const { return a != a ? std::numeric_limits<A>::quiet_NaN() : a; }
};

/// a: the maximum of the elements; b: the sum of exp(x - a) over the others. The maximum itself, whose term
/// is 1, would hide small ones: logsumexp of 0 and -40 is 4e-18.
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
    b = b * (x > m ? e : 1) + e;  // the former maximum is an exponential now
    a = x > m ? static_cast<A>(x) : a;
  }
  BOBBIN_HD static void combine(A& a, B& b, std::int64_t, A a2, B b2, std::int64_t) {
    const T d = a2 == a ? T(0) : static_cast<T>(a2 - a);
    const double e = static_cast<double>(math::exp(-std::abs(d)));
    b = a2 > a ? (b + 1) * e + b2 : b + (b2 + 1) * e;
    a = a2 > a ? a2 : a;
  }
  BOBBIN_HD double project(A a, B b, std::int64_t) const {
    return a == -infinity && b == b ? a : a + std::log1p(b);
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

/// Whether squares of f64 deviations of about this size may overflow or be lost; true for NaN.
BOBBIN_HD inline bool squares_leave_range(double deviation) {
  return !(deviation > 0x1p-480 && deviation < 0x1p480);
}

}  // namespace bobbin::reducer
