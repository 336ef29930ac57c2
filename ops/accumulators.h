// The folds that reductions are made of. A fold F has for each result two words, `a` of type A and `b` of
// type B,
//
//   start(a, b, step)            no element yet
//   add(a, b, x, context)        one more; context = at(step, done)
//   merge(a, b, n, a2, b2, n2)   what n elements came to, and the n2 after them
//   value(a, b, n)               the result
//
// and AccumulatorOf makes the loops over them.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include "math.h"
#include "reduce_engine.h"

namespace bobbin {

template<class F>
class AccumulatorOf final : public Accumulator {
  using In = typename F::In;
  using A = typename F::A;
  using B = typename F::B;
  static_assert(sizeof(A) == 8 && sizeof(B) == 8);
  static A* a(Cells c) { return static_cast<A*>(c.a); }
  static B* b(Cells c) { return static_cast<B*>(c.b); }

 public:
  explicit AccumulatorOf(F f = {}) : f_(f) {}
  DType reads() const override { return dtype_of<In>(); }
  DType gives() const override { return dtype_of<decltype(f_.value(A(), B(), 0))>(); }

  void start(Cells c, std::int64_t n, std::int64_t step) const override {
    for (std::int64_t i = 0; i < n; ++i) F::start(a(c)[i], b(c)[i], step);
  }

  void add(Cells c, const void* x, std::int64_t n, std::int64_t rounds, std::int64_t done,
           std::int64_t step) const override {
    const auto* in = static_cast<const In*>(x);
    for (std::int64_t k = done; k < done + rounds; ++k, in += n) {
      if (n == lanes)
        round<lanes>(a(c), b(c), in, lanes, f_.at(step + k, k));
      else
        round<0>(a(c), b(c), in, n, f_.at(step + k, k));
    }
  }

  void fold(Cells c, std::int64_t n, std::int64_t rows) const override {
    const std::int64_t used = std::min(lanes, rows);
    if constexpr (requires { F::name_lane(*b(c), 0); })
      for (std::int64_t l = 0; l < used; ++l)
        for (std::int64_t i = 0; i < n; ++i) F::name_lane(b(c)[l * n + i], l);
    std::int64_t count[lanes];
    for (std::int64_t l = 0; l < lanes; ++l) count[l] = (rows - l + lanes - 1) / lanes;
    for (std::int64_t half = lanes / 2; half > 0; half /= 2) {
      const std::int64_t pairs = std::min(used, 2 * half) - half;
      if (pairs <= 0) continue;
      if constexpr (!F::counts)
        merge(c, 1, c + half * n, 1, pairs * n);
      else
        for (std::int64_t l = 0; l < pairs; ++l) {
          merge(c + l * n, count[l], c + (l + half) * n, count[l + half], n);
          count[l] += count[l + half];
        }
    }
  }

  void merge(Cells to, std::int64_t count, Cells from, std::int64_t from_count,
             std::int64_t n) const override {
    A* __restrict p = a(to), * __restrict q = a(from);
    B* __restrict s = b(to), * __restrict t = b(from);
    for (std::int64_t i = 0; i < n; ++i) F::merge(p[i], s[i], count, q[i], t[i], from_count);
  }

  void value(Cells c, std::int64_t n, std::int64_t count, void* out) const override {
    auto* y = static_cast<decltype(f_.value(A(), B(), 0))*>(out);
    for (std::int64_t i = 0; i < n; ++i) y[i] = f_.value(a(c)[i], b(c)[i], count);
  }

 private:
  // A loop of known length that is not unrolled is one that GCC vectorises.
  template<std::int64_t known, class Context>
  static void round(A* __restrict p, B* __restrict q, const In* __restrict x, std::int64_t n,
                    const Context& c) {
#pragma GCC unroll 1
    for (std::int64_t i = 0; i < (known ? known : n); ++i) F::add(p[i], q[i], x[i], c);
  }

  F f_;
};

namespace fold {

struct Plain {
  using B = std::int64_t;  // unused
  static constexpr bool counts = false;
  static int at(std::int64_t, std::int64_t) { return 0; }
};

template<class T, class Total>
struct Sum : Plain {
  using In = T;
  using A = Total;
  bool mean = false;
  static void start(A& a, B&, std::int64_t) { a = 0; }
  static void add(A& a, B&, T x, int) { a = plus(a, static_cast<A>(x)); }
  static void merge(A& a, B&, std::int64_t, A a2, B, std::int64_t) { a = plus(a, a2); }
  static double plus(double a, double b) { return a + b; }
  static std::int64_t plus(std::int64_t a, std::int64_t b) {  // a part may overflow where the whole does not
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  }
  A value(A a, B, std::int64_t n) const {
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
  double at(std::int64_t, std::int64_t) const { return p; }
  static void start(A& a, B&, std::int64_t) { a = 0; }
  static void add(A& a, B&, double x, double p) {
    if constexpr (power == Power::one)
      a += std::abs(x);
    else if constexpr (power == Power::two)
      a += x * x;
    else
      a += std::pow(std::abs(x), p);
  }
  static void merge(A& a, B&, std::int64_t, A a2, B, std::int64_t) { a += a2; }
  double value(A a, B, std::int64_t) const {
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
  static void start(A& a, B&, std::int64_t) { a = 0; }
  static void add(A& a, B&, double x, int) {
    const double m = std::abs(x);
    a = (m > a) | (m != m) ? m : a;
  }
  static void merge(A& a, B& b, std::int64_t, A a2, B, std::int64_t) { add(a, b, a2, 0); }
  double value(A a, B, std::int64_t) const { return a; }
};

/// The extreme and the index of the first one. A NaN goes before everything.
template<class T, bool largest>
struct Extreme : Plain {
  using In = T;
  using A = T;
  static std::int64_t at(std::int64_t step, std::int64_t) { return step; }
  static bool before(T x, T y) { return (largest ? x > y : x < y) | ((x != x) & (y == y)); }
  static void start(A& a, B& b, std::int64_t step) {
    using Limits = std::numeric_limits<T>;
    if constexpr (Limits::has_infinity)
      a = largest ? -Limits::infinity() : Limits::infinity();
    else
      a = largest ? Limits::min() : Limits::max();
    b = step;
  }
  static void add(A& a, B& b, T x, std::int64_t step) {
    const bool take = before(x, a);
    a = take ? x : a;
    b = take ? step : b;
  }
  static void name_lane(B& b, std::int64_t lane) { b = b * Accumulator::lanes + lane; }
  static void merge(A& a, B& b, std::int64_t, A a2, B b2, std::int64_t) {
    const bool take = before(a2, a) | (!before(a, a2) & (b2 < b));
    a = take ? a2 : a;
    b = take ? b2 : b;
  }
  A value(A a, B, std::int64_t) const { return a; }
};

/// a: the maximum so far; b: the sum of exp(x - a).
template<class T>
struct LogSumExp {
  using In = T;
  using A = double;
  using B = double;
  static constexpr bool counts = false;
  static constexpr double infinity = std::numeric_limits<double>::infinity();
  static int at(std::int64_t, std::int64_t) { return 0; }
  static void start(A& a, B& b, std::int64_t) { a = -infinity, b = 0; }
  static void add(A& a, B& b, T x, int) {
    const T m = static_cast<T>(a), d = x == m ? T(0) : x - m;  // inf - inf counts as 0
    const double e = static_cast<double>(math::exp(-std::abs(d)));
    b = x > m ? b * e + 1 : b + e;
    a = x > m ? static_cast<double>(x) : a;
  }
  static void merge(A& a, B& b, std::int64_t, A a2, B b2, std::int64_t) {
    const T d = a2 == a ? T(0) : static_cast<T>(a2 - a);
    const double e = static_cast<double>(math::exp(-std::abs(d)));
    b = a2 > a ? b * e + b2 : b + b2 * e;
    a = a2 > a ? a2 : a;
  }
  double value(A a, B b, std::int64_t) const { return a == -infinity && b == b ? a : a + std::log(b); }
};

/// a: the mean so far; b: the sum of squared deviations from it (Welford; merged as Chan, Golub and LeVeque
/// do).
struct Variance {
  using In = double;
  using A = double;
  using B = double;
  static constexpr bool counts = true;
  double correction = 1;
  bool root = false;
  static double at(std::int64_t, std::int64_t done) { return 1 / static_cast<double>(done + 1); }
  static void start(A& a, B& b, std::int64_t) { a = b = 0; }
  static void add(A& a, B& b, double x, double weight) {
    const double d = x - a;
    a += d * weight;
    b += d * (x - a);
  }
  static void merge(A& a, B& b, std::int64_t n, A a2, B b2, std::int64_t n2) {
    const double d = a2 - a, share = static_cast<double>(n2) / static_cast<double>(n + n2);
    a += d * share;
    b += b2 + d * d * (static_cast<double>(n) * share);
  }
  double value(A, B b, std::int64_t n) const {
    const double freedom = static_cast<double>(n) - correction;
    if (!(freedom > 0)) return std::numeric_limits<double>::quiet_NaN();
    return root ? std::sqrt(b / freedom) : b / freedom;
  }
};

}  // namespace fold
}  // namespace bobbin
