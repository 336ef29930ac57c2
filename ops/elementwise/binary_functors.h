// The scalar mathematics of functions of two numbers, of their derivatives, and of elementwise losses, as in
// functors.h.
#pragma once
#include "ops/elementwise/functors.h"

namespace bobbin::fn {

#define BOBBIN_FN2(Name, domain, expression)      \
  struct Name {                                   \
    static constexpr Types types = Types::domain; \
    template<class T>                             \
    BOBBIN_HD auto operator()(T a, T b) const {   \
      return expression;                          \
    }                                             \
  };

BOBBIN_FN2(Add, numeric, wrapped_sum(a, b))
BOBBIN_FN2(Sub, numeric, wrapped_difference(a, b))
BOBBIN_FN2(Mul, numeric, wrapped_product(a, b))
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
/// Of a gradient and the output of relu. NaN is passed on.
BOBBIN_FN2(ReluBackward, floating, !(b <= T(0)) ? a : T(0))

/// The derivative of a / b for b: -g a / b^2. The product that is formed first has one factor of at least 1
/// and one below 1, unless all three are on one side of 1: it cannot leave the range.
struct DivBackward {
  static constexpr Types types = Types::floating;
  template<class T>
  BOBBIN_HD T operator()(T g, T a, T b) const {
    const T q = a / b;
    const bool alike = q != T(0) && (magnitude(g) < T(1)) == (magnitude(q) < T(1));
    const T part = (alike ? g : g * q) / b;
    return -(alike ? part * q : part);
  }
};
/// The derivative of a^b for a: g b a^(b - 1).
struct PowBackward {
  static constexpr Types types = Types::floating;
  template<class T>
  BOBBIN_HD T operator()(T g, T a, T b) const {
    return power_derivative(g, a, b, b - T(1));
  }
};
/// The derivative of the larger (or smaller) of a and b for a: g where it is a, half of g where both are
/// equal. A NaN is larger and smaller than any number, and two NaNs are equal.
template<bool larger>
struct ExtremeBackward {
  static constexpr Types types = Types::floating;
  template<class T>
  BOBBIN_HD T operator()(T g, T a, T b) const {
    const bool a_nan = a != a, b_nan = b != b;
    const T half = T(0.5) * g;
    if (a == b || (a_nan && b_nan)) return half;
    return a_nan || (larger ? a > b : a < b) ? g : T(0);
  }
};
using MaximumBackward = ExtremeBackward<true>;
using MinimumBackward = ExtremeBackward<false>;

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
