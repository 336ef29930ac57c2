// The scalar mathematics of the functions of one number, for the CPU and for CUDA. A functor takes one value.
// Its `types` are the dtypes it accepts, and the operation's attributes are its fields.
//
// A smooth function has also derivative(g, x), which is g f'(x). Its factors are multiplied in an order in
// which no intermediate result overflows or underflows unless f(x) or the derivative does: e^x, for example,
// is applied as e^(x/2) twice.
#pragma once
#include <numbers>

#include "ops/elementwise/integer_math.h"
#include "ops/elementwise/normal.h"
#include "ops/scalar_math.h"

namespace bobbin::fn {

// For the standard types. Other number types define functions of these names, which argument-dependent lookup
// finds.
using std::cos, std::erf, std::expm1, std::log, std::log1p, std::pow, std::sin, std::sqrt, std::tanh;

enum class Types { floating, numeric, all };

#define BOBBIN_FN1(Name, domain, expression)                \
  struct Name {                                             \
    static constexpr Types types = Types::domain;           \
    template<class T>                                       \
    BOBBIN_HD auto operator()([[maybe_unused]] T x) const { \
      return expression;                                    \
    }                                                       \
  };
#define BOBBIN_SMOOTH_FN1(Name, value, slope)                 \
  struct Name {                                               \
    static constexpr Types types = Types::floating;           \
    template<class T>                                         \
    BOBBIN_HD T operator()(T x) const {                       \
      return value;                                           \
    }                                                         \
    template<class T>                                         \
    BOBBIN_HD T derivative([[maybe_unused]] T g, T x) const { \
      return slope;                                           \
    }                                                         \
  };

/// Takes a gradient g and x, and gives g f'(x). F is its base and not a member: kernels of nvcc 13.0 cannot
/// take an empty class with an empty member that shares its address.
template<class F>
struct Derivative : F {
  static constexpr Types types = Types::floating;
  template<class T>
  BOBBIN_HD T operator()(T g, T x) const {
    return F::derivative(g, x);
  }
};

/// What the functions of the logistic distribution are made of: e^-|x| = half^2, where `half` is subnormal
/// only if e^-|x| is 0; and 1 / (1 + e^-|x|).
template<class T>
struct Logistic {
  T half, square, rest;
  BOBBIN_HD explicit Logistic(T x)
      : half(math::exp(T(-0.5) * magnitude(x))), square(half * half), rest(T(1) / (T(1) + square)) {}
  /// g times the density of the distribution.
  BOBBIN_HD T density_times(T g) const { return (((g * half) * half) * rest) * rest; }
};

BOBBIN_FN1(Neg, numeric, wrapped_negative(x))
BOBBIN_FN1(Abs, numeric, x < T(0) ? wrapped_negative(x) : T(x + T(0)))    // -0 + 0 is +0
BOBBIN_FN1(Sign, numeric, x > T(0) ? T(1) : x < T(0) ? T(-1) : T(x - x))  // NaN stays NaN
BOBBIN_FN1(Exp, floating, math::exp(x))
BOBBIN_SMOOTH_FN1(Log1p, T(log1p(x)), g / (T(1) + x))
BOBBIN_SMOOTH_FN1(Sqrt, T(sqrt(x)), g / (T(2) * T(sqrt(x))))
BOBBIN_SMOOTH_FN1(Rsqrt, T(T(1) / sqrt(x)), ((T(-0.5) * g) / x) / T(sqrt(x)))
BOBBIN_SMOOTH_FN1(Reciprocal, T(T(1) / x), -((g / x) / x))
BOBBIN_SMOOTH_FN1(Sin, T(sin(x)), g* T(cos(x)))
BOBBIN_SMOOTH_FN1(Cos, T(cos(x)), -(g* T(sin(x))))
BOBBIN_FN1(Log, floating, T(log(x)))
BOBBIN_FN1(Relu, numeric, x > T(0) ? x : T(x != x ? x : T(0)))

struct Square {
  static constexpr Types types = Types::numeric;
  template<class T>
  BOBBIN_HD T operator()(T x) const {
    return wrapped_product(x, x);
  }
  template<class T>
  BOBBIN_HD T derivative(T g, T x) const {
    const T half = g * x;
    return half + half;
  }
};
struct Expm1 {
  static constexpr Types types = Types::floating;
  template<class T>
  BOBBIN_HD T operator()(T x) const {
    return T(expm1(x));
  }
  template<class T>
  BOBBIN_HD T derivative(T g, T x) const {
    const T half = math::exp(T(0.5) * x);
    return (g * half) * half;
  }
};
struct Tanh {
  static constexpr Types types = Types::floating;
  template<class T>
  BOBBIN_HD T operator()(T x) const {
    return T(tanh(x));
  }
  /// 1 / cosh^2, which keeps its digits where tanh rounds to 1.
  template<class T>
  BOBBIN_HD T derivative(T g, T x) const {
    const T e = math::exp(-magnitude(x)), twice = T(2) / (T(1) + e * e);
    return (((g * e) * e) * twice) * twice;
  }
};
struct Erf {
  static constexpr Types types = Types::floating;
  template<class T>
  BOBBIN_HD T operator()(T x) const {
    return T(erf(x));
  }
  template<class T>
  BOBBIN_HD T derivative(T g, T x) const {
    return (g * exp_minus_square(bounded(x, 40))) * T(2 * std::numbers::inv_sqrtpi);
  }
};
struct Sigmoid {
  static constexpr Types types = Types::floating;
  /// e^-|x| does not overflow, and small results keep their digits.
  template<class T>
  BOBBIN_HD T operator()(T x) const {
    const T e = math::exp(-magnitude(x));
    return (x < T(0) ? e : T(1)) / (T(1) + e);
  }
  template<class T>
  BOBBIN_HD T derivative(T g, T x) const {
    return Logistic<T>(x).density_times(g);
  }
};
/// x sigmoid(v), or its derivative g (sigmoid(v) + x sigmoid'(v) slope), where v has the sign of x, and x is
/// at least -limit. For silu v = x; for the approximation of gelu, v is a cubic polynomial.
template<class T>
BOBBIN_HD T gated(T x, T low, T v) {
  const T half = math::exp(T(-0.5) * magnitude(v));
  return quotient(v < T(0) ? (low * half) * half : x, T(1) + half * half);
}
template<class T>
BOBBIN_HD T gated_derivative(T g, T x, T v, T slope) {
  const Logistic<T> l(v);
  const T w = T(1) + x * slope * (v < T(0) ? l.rest : l.square * l.rest);
  return v < T(0) ? (((g * l.half) * w) * l.half) * l.rest : g * (w * l.rest);
}
struct Silu {
  static constexpr Types types = Types::floating;
  static constexpr double limit = 1500;
  template<class T>
  BOBBIN_HD T operator()(T x) const {
    const T low = x < T(-limit) ? T(-limit) : x;
    return gated(x, low, low);
  }
  template<class T>
  BOBBIN_HD T derivative(T g, T x) const {
    const T b = bounded(x, limit);
    return gated_derivative(g, b, b, T(1));
  }
};
struct GeluTanh {
  static constexpr Types types = Types::floating;
  static constexpr double limit = 40, linear = 2 * std::numbers::sqrt2 * std::numbers::inv_sqrtpi,
                          cubic = 0.044715 * linear;
  template<class T>
  BOBBIN_HD T operator()(T x) const {
    const T b = bounded(x, limit);
    return gated(x, b, b * (T(linear) + T(cubic) * b * b));
  }
  template<class T>
  BOBBIN_HD T derivative(T g, T x) const {
    const T b = bounded(x, limit), square = b * b;
    return gated_derivative(g, b, b * (T(linear) + T(cubic) * square), T(linear) + T(3 * cubic) * square);
  }
};
struct GeluErf {
  static constexpr Types types = Types::floating;
  /// x less x P(Z > x) above 0, and x P(Z > -x) below, where 1 + erf would cancel.
  template<class T>
  BOBBIN_HD T operator()(T x) const {
    const T b = bounded(x, 40), tail = NormalTail<T>(magnitude(b)).probability_times(b);
    return x > T(0) ? x - tail : tail;
  }
  template<class T>
  BOBBIN_HD T derivative(T g, T x) const {
    const T tail = NormalTail<T>(magnitude(bounded(x, 40))).slope_times(g);
    return x > T(0) ? g - tail : tail;
  }
};
struct Softplus {
  static constexpr Types types = Types::floating;
  template<class T>
  BOBBIN_HD T operator()(T x) const {
    return T((x > T(0) ? x : T(x != x ? x : T(0))) + log1p(math::exp(-magnitude(x))));
  }
  template<class T>
  BOBBIN_HD T derivative(T g, T x) const {
    const Logistic<T> l(x);
    return (x < T(0) ? (g * l.half) * l.half : g) * l.rest;
  }
};
struct LeakyRelu {
  static constexpr Types types = Types::floating;
  double slope;
  template<class T>
  BOBBIN_HD T operator()(T x) const {
    return x > T(0) ? x : T(slope) * x;
  }
};
struct Elu {
  static constexpr Types types = Types::floating;
  double alpha;
  template<class T>
  BOBBIN_HD T operator()(T x) const {
    return x > T(0) ? x : T(T(alpha) * expm1(x));
  }
  template<class T>
  BOBBIN_HD T derivative(T g, T x) const {
    const T half = math::exp(T(0.5) * (x > T(0) ? T(0) : x));
    return x > T(0) ? g : ((g * half) * half) * T(alpha);
  }
};
/// Integers are limited by the nearest bounds that their dtype has.
struct Clamp {
  static constexpr Types types = Types::numeric;
  double low, high;
  template<class T>
  BOBBIN_HD T operator()(T x) const {
    const T least = saturated<T>(low), most = saturated<T>(high);
    return x < least ? least : x > most ? most : x;
  }
};

/// g e x^(e - 1), where `less` is e - 1. At x = 0 it is 0 for e = 0. Where the power itself leaves the range,
/// it is applied as two powers with half the exponent.
template<class T>
BOBBIN_HD T power_derivative(T g, T x, T e, T less) {
  if (e == T(0) && (std::is_floating_point_v<T> || x == T(0))) return T(0);
  const T p = pow(x, less);
  if constexpr (std::is_floating_point_v<T>) {
    const T size = magnitude(p);
    const bool lost = !(size >= std::numeric_limits<T>::min() && size <= std::numeric_limits<T>::max());
    if (lost && p == p && x != T(0) && x - x == T(0)) {
      const T half = pow(magnitude(x), T(0.5) * less), scaled = ((g * half) * e) * half;
      return std::signbit(p) ? -scaled : scaled;
    }
  }
  return (g * p) * e;
}
struct PowScalar {
  static constexpr Types types = Types::floating;
  double exponent;
  template<class T>
  BOBBIN_HD T operator()(T x) const {
    return T(pow(x, T(exponent)));
  }
  template<class T>
  BOBBIN_HD T derivative(T g, T x) const {
    return power_derivative(g, x, T(exponent), T(exponent - 1));
  }
};

}  // namespace bobbin::fn
