// Operations that work element by element. Binary operations broadcast by NumPy's rule and need operands of
// one dtype; in an operator, a number takes the dtype of the tensor, and one that no integer of the dtype is
// (i64 times 0.5, u8 plus 300) is a DTypeError. Integers are compared with a number as in mathematics: u8 >
// -1 is true everywhere. Sums and products of integers wrap around. Transcendental functions take floating
// dtypes; 16-bit types are computed in f32. All throw ShapeError, DTypeError or DeviceError; the message
// names the operation and its operands.
//
// Derivatives leave the range of the dtype only if the function's value or the derivative does, and are
// relatively exact also where they are tiny (the slope of tanh at 20 is 1.7e-17).
//
// NaN: a function of NaN is NaN. relu, leaky_relu, clamp, maximum and minimum pass the NaN itself on, and the
// gradient with it (two NaNs get half of it each); the derivative of any other function is NaN there.
//
// Derivatives at kinks: abs and sign have 0 at 0; relu, leaky_relu, elu and huber_loss take the left
// derivative at 0 (relu: 0); maximum and minimum split the gradient in halves between equal operands; clamp
// passes the gradient where low <= x <= high.
#pragma once
#include <bobbin/tensor.h>

#include <string_view>

namespace bobbin {

Tensor neg(const Tensor&);         ///< -x
Tensor abs(const Tensor&);         ///< |x|
Tensor sign(const Tensor&);        ///< -1, 0 or 1
Tensor exp(const Tensor&);         ///< e^x
Tensor expm1(const Tensor&);       ///< e^x - 1, exact near 0
Tensor log(const Tensor&);         ///< the natural logarithm; NaN below 0
Tensor log1p(const Tensor&);       ///< log(1 + x), exact near 0
Tensor sqrt(const Tensor&);        ///< NaN below 0
Tensor rsqrt(const Tensor&);       ///< 1 / sqrt(x)
Tensor square(const Tensor&);      ///< x^2
Tensor reciprocal(const Tensor&);  ///< 1 / x
Tensor sin(const Tensor&);         ///< of radians
Tensor cos(const Tensor&);         ///< of radians
Tensor tanh(const Tensor&);        ///< the hyperbolic tangent
Tensor erf(const Tensor&);         ///< the error function

Tensor sigmoid(const Tensor&);                                   ///< 1 / (1 + e^-x)
Tensor relu(const Tensor&);                                      ///< max(x, 0)
Tensor leaky_relu(const Tensor&, double negative_slope = 0.01);  ///< x above 0, else negative_slope x
Tensor elu(const Tensor&, double alpha = 1);                     ///< x above 0, else alpha (e^x - 1)
Tensor silu(const Tensor&);                                      ///< x sigmoid(x)
Tensor softplus(const Tensor&);                                  ///< log(1 + e^x)
/// The exact form, or the approximation by tanh.
enum class Gelu {
  erf,   ///< x (1 + erf(x / sqrt(2))) / 2
  tanh,  ///< x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
};
/// x P(Z <= x) for a standard normal Z; `tanh` is Hendrycks and Gimpel's approximation (arXiv:1606.08415).
Tensor gelu(const Tensor&, Gelu form = Gelu::erf);

/// min(max(x, low), high). Integers are limited by the nearest bounds that their dtype has: u8 to [300, 400]
/// gives 255. Throws ValueError if low > high, or if integers have no number between them.
Tensor clamp(const Tensor&, double low, double high);
/// x to a constant power.
Tensor pow(const Tensor&, double exponent);

Tensor add(const Tensor&, const Tensor&);  ///< a + b
Tensor sub(const Tensor&, const Tensor&);  ///< a - b
Tensor mul(const Tensor&, const Tensor&);  ///< a b
Tensor div(const Tensor&, const Tensor&);  ///< a / b; floating dtypes only
/// a to the power of b.
Tensor pow(const Tensor&, const Tensor&);
/// The larger of two elements; NaN where either is NaN.
Tensor maximum(const Tensor&, const Tensor&);
/// The smaller of two elements; NaN where either is NaN.
Tensor minimum(const Tensor&, const Tensor&);

// Comparisons give bool and have no derivative.
Tensor eq(const Tensor&, const Tensor&);  ///< a == b, as bool
Tensor ne(const Tensor&, const Tensor&);  ///< a != b, as bool
Tensor lt(const Tensor&, const Tensor&);  ///< a < b, as bool
Tensor le(const Tensor&, const Tensor&);  ///< a <= b, as bool
Tensor gt(const Tensor&, const Tensor&);  ///< a > b, as bool
Tensor ge(const Tensor&, const Tensor&);  ///< a >= b, as bool

/// condition ? a : b, with a bool condition; all three broadcast.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);

/// x converted to a dtype; x itself if it has that dtype. Rounds once, to nearest even. To an integer dtype,
/// fractions are cut off, numbers beyond its range become its nearest end, and NaN becomes 0.
Tensor to(const Tensor& x, DType);
/// x copied to a device; x itself if it is there.
Tensor to(const Tensor& x, Device);

/// A 0-dimensional tensor of the dtype and device of `like`.
inline Tensor scalar(double value, const Tensor& like) {
  return full({}, value, like.dtype(), like.device());
}

/// neg(x).
inline Tensor operator-(const Tensor& x) { return neg(x); }
namespace detail {
/// A number as an operand of `op` beside x. Throws DTypeError if no element of x's dtype is that number.
Tensor operand(std::string_view op, double, const Tensor& x);
/// x < b, x <= b, x > b and x >= b; of integers and bools as in mathematics, also where b is no such number.
Tensor lt(const Tensor& x, double b);
Tensor le(const Tensor& x, double b);
Tensor gt(const Tensor& x, double b);
Tensor ge(const Tensor& x, double b);
}  // namespace detail

/// Defines an operator of two tensors, or of a tensor and a number. The macros are undefined again below.
#define BOBBIN_OPERATOR(symbol, function)                                                    \
  /** function(a, b) */                                                                      \
  inline Tensor operator symbol(const Tensor& a, const Tensor& b) { return function(a, b); } \
  /** function(a, b), b being as a is */                                                     \
  inline Tensor operator symbol(const Tensor& a, double b) {                                 \
    return function(a, detail::operand(#function, b, a));                                    \
  }                                                                                          \
  /** function(a, b), a being as b is */                                                     \
  inline Tensor operator symbol(double a, const Tensor& b) {                                 \
    return function(detail::operand(#function, a, b), b);                                    \
  }
BOBBIN_OPERATOR(+, add)
BOBBIN_OPERATOR(-, sub)
BOBBIN_OPERATOR(*, mul)
BOBBIN_OPERATOR(/, div)
#undef BOBBIN_OPERATOR
#define BOBBIN_OPERATOR(symbol, function, mirrored)                                           \
  /** function(a, b) */                                                                       \
  inline Tensor operator symbol(const Tensor& a, const Tensor& b) { return function(a, b); }  \
  /** Each element with b. */                                                                 \
  inline Tensor operator symbol(const Tensor& a, double b) { return detail::function(a, b); } \
  /** a with each element. */                                                                 \
  inline Tensor operator symbol(double a, const Tensor& b) { return detail::mirrored(b, a); }
BOBBIN_OPERATOR(<, lt, gt)
BOBBIN_OPERATOR(<=, le, ge)
BOBBIN_OPERATOR(>, gt, lt)
BOBBIN_OPERATOR(>=, ge, le)
#undef BOBBIN_OPERATOR

}  // namespace bobbin
