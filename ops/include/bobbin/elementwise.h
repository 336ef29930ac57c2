// Operations that work element by element. Binary operations broadcast by NumPy's rule and need operands of
// one dtype; in an operator, a number takes the dtype of the tensor. Transcendental functions take floating
// dtypes; 16-bit types are computed in f32. All throw ShapeError, DTypeError or DeviceError; the message
// names the operation and its operands.
//
// Derivatives at kinks: abs and sign have 0 at 0; relu, leaky_relu, elu and huber_loss take the left
// derivative at 0 (relu: 0); maximum and minimum split the gradient in halves between equal operands; clamp
// passes the gradient where low <= x <= high.
#pragma once
#include <bobbin/tensor.h>

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

/// min(max(x, low), high). Throws ValueError if low > high.
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

/// x converted to a dtype; x itself if it has that dtype. Floating to integer truncates and saturates.
Tensor to(const Tensor& x, DType);
/// x copied to a device; x itself if it is there.
Tensor to(const Tensor& x, Device);

/// A 0-dimensional tensor of the dtype and device of `like`.
inline Tensor scalar(double value, const Tensor& like) {
  return full({}, value, like.dtype(), like.device());
}

/// neg(x).
inline Tensor operator-(const Tensor& x) { return neg(x); }
/// Defines an operator of two tensors, or of a tensor and a number. The macro is undefined again below.
#define BOBBIN_OPERATOR(symbol, function)                                                        \
  /** function(a, b) */                                                                          \
  inline Tensor operator symbol(const Tensor& a, const Tensor& b) { return function(a, b); }     \
  /** function(a, b), b being as a is */                                                         \
  inline Tensor operator symbol(const Tensor& a, double b) { return function(a, scalar(b, a)); } \
  /** function(a, b), a being as b is */                                                         \
  inline Tensor operator symbol(double a, const Tensor& b) { return function(scalar(a, b), b); }
BOBBIN_OPERATOR(+, add)
BOBBIN_OPERATOR(-, sub)
BOBBIN_OPERATOR(*, mul)
BOBBIN_OPERATOR(/, div)
BOBBIN_OPERATOR(<, lt)
BOBBIN_OPERATOR(<=, le)
BOBBIN_OPERATOR(>, gt)
BOBBIN_OPERATOR(>=, ge)
#undef BOBBIN_OPERATOR

}  // namespace bobbin
