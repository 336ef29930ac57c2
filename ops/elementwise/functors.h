// The scalar mathematics of the elementwise operations, for the CPU and for CUDA. A functor takes one value
// for each operand. Its `types` are the dtypes it accepts, and the operation's attributes are its fields.
#pragma once
#include <numbers>

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
#define BOBBIN_FN2(Name, domain, expression)      \
  struct Name {                                   \
    static constexpr Types types = Types::domain; \
    template<class T>                             \
    BOBBIN_HD auto operator()(T a, T b) const {   \
      return expression;                          \
    }                                             \
  };

BOBBIN_FN1(Neg, numeric, T(-x))
BOBBIN_FN1(Abs, numeric, x < T(0) ? T(-x) : T(x + T(0)))                  // -0 + 0 is +0
BOBBIN_FN1(Sign, numeric, x > T(0) ? T(1) : x < T(0) ? T(-1) : T(x - x))  // NaN stays NaN
BOBBIN_FN1(Square, numeric, T(x* x))
BOBBIN_FN1(Exp, floating, math::exp(x))
BOBBIN_FN1(Expm1, floating, T(expm1(x)))
BOBBIN_FN1(Log, floating, T(log(x)))
BOBBIN_FN1(Log1p, floating, T(log1p(x)))
BOBBIN_FN1(Sqrt, floating, T(sqrt(x)))
BOBBIN_FN1(Rsqrt, floating, T(T(1) / sqrt(x)))
BOBBIN_FN1(Reciprocal, floating, T(T(1) / x))
BOBBIN_FN1(Sin, floating, T(sin(x)))
BOBBIN_FN1(Cos, floating, T(cos(x)))
BOBBIN_FN1(Tanh, floating, T(tanh(x)))
BOBBIN_FN1(Erf, floating, T(erf(x)))
// e^-|x| does not overflow, and small results keep their digits.
BOBBIN_FN1(Sigmoid, floating,
           (x < T(0) ? T(math::exp(x) / (T(1) + math::exp(x))) : T(T(1) / (T(1) + math::exp(T(-x))))))
BOBBIN_FN1(Relu, numeric, x > T(0) ? x : T(x != x ? x : T(0)))
BOBBIN_FN1(Silu, floating, T(x* Sigmoid{}(x)))
BOBBIN_FN1(Softplus, floating,
           T((x > T(0) ? x : T(x != x ? x : T(0))) + log1p(math::exp(T(x < T(0) ? x : -x)))))
BOBBIN_FN1(GeluErf, floating, T(x* T(0.5) * (T(1) + erf(x * T(std::numbers::sqrt2 / 2)))))
BOBBIN_FN1(GeluTanh, floating,
           T(T(0.5) * x *
             (T(1) +
              tanh(T(std::numbers::sqrt2 * std::numbers::inv_sqrtpi) * (x + T(0.044715) * x * x * x)))))

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
};
struct Clamp {
  static constexpr Types types = Types::numeric;
  double low, high;
  template<class T>
  BOBBIN_HD T operator()(T x) const {
    return x < low ? T(low) : x > high ? T(high) : x;
  }
};
struct PowScalar {
  static constexpr Types types = Types::floating;
  double exponent;
  template<class T>
  BOBBIN_HD T operator()(T x) const {
    return T(pow(x, T(exponent)));
  }
};

BOBBIN_FN2(Add, numeric, T(a + b))
BOBBIN_FN2(Sub, numeric, T(a - b))
BOBBIN_FN2(Mul, numeric, T(a* b))
BOBBIN_FN2(Div, floating, T(a / b))
BOBBIN_FN2(Pow, floating, T(pow(a, b)))
BOBBIN_FN2(Maximum, numeric, a > b || a != a ? a : b)
BOBBIN_FN2(Minimum, numeric, a < b || a != a ? a : b)
BOBBIN_FN2(Eq, all, a == b)
BOBBIN_FN2(Ne, all, a != b)
BOBBIN_FN2(Lt, all, a < b)
BOBBIN_FN2(Le, all, a <= b)
BOBBIN_FN2(Gt, all, a > b)
BOBBIN_FN2(Ge, all, a >= b)
BOBBIN_FN2(ReluBackward, floating, b > T(0) ? a : T(0))  // gradient, output

// Losses of a prediction a and a target b.
BOBBIN_FN2(SquaredError, floating, T((a - b) * (a - b)))
BOBBIN_FN2(AbsoluteError, floating, T(a < b ? b - a : a - b))
struct BceWithLogits {
  static constexpr Types types = Types::floating;
  template<class T>
  BOBBIN_HD T operator()(T a, T b) const {
    const T cost = a > T(0) ? T(T(1) - b) : T(-b);
    const bool limit = cost == T(0) && a - a != T(0) && a == a;  // 0 of an infinite logit
    return (limit ? T(0) : T(cost * a)) + log1p(math::exp(T(a < T(0) ? a : -a)));
  }
};
BOBBIN_FN2(KlDiv, floating, T(b == T(0) ? T(a != a ? T(T(0) * a) : T(0)) : T(b * (log(b) - a))))
struct Huber {
  static constexpr Types types = Types::floating;
  double delta;
  template<class T>
  BOBBIN_HD T operator()(T a, T b) const {
    const T d = a < b ? b - a : a - b;
    return d <= T(delta) ? T(0.5) * d * d : T(delta) * (d - T(0.5) * T(delta));
  }
};

struct Where {
  static constexpr Types types = Types::all;
  template<class T>
  BOBBIN_HD T operator()(bool condition, T a, T b) const {
    return condition ? a : b;
  }
};

}  // namespace bobbin::fn
