// Operations that work element by element. Binary ones broadcast by NumPy's rule and want one dtype; a number
// takes the dtype of the tensor beside it. Transcendental functions take floating dtypes; 16-bit types are
// computed in f32. All throw ShapeError, DTypeError or DeviceError, naming the operation and what it got.
//
// Derivatives at kinks: abs and sign have 0 at 0; relu, leaky_relu, elu and huber_loss take the left
// derivative at 0 (relu: 0); maximum and minimum split the gradient in halves between equal operands; clamp
// passes the gradient where low <= x <= high.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin {

Tensor neg(const Tensor&);
Tensor abs(const Tensor&);
Tensor sign(const Tensor&);
Tensor exp(const Tensor&);
Tensor expm1(const Tensor&);
Tensor log(const Tensor&);
Tensor log1p(const Tensor&);
Tensor sqrt(const Tensor&);
Tensor rsqrt(const Tensor&);  ///< 1 / sqrt(x)
Tensor square(const Tensor&);
Tensor reciprocal(const Tensor&);
Tensor sin(const Tensor&);
Tensor cos(const Tensor&);
Tensor tanh(const Tensor&);
Tensor erf(const Tensor&);

Tensor sigmoid(const Tensor&);
Tensor relu(const Tensor&);
Tensor leaky_relu(const Tensor&, double negative_slope = 0.01);
Tensor elu(const Tensor&, double alpha = 1);
Tensor silu(const Tensor&);      ///< x sigmoid(x)
Tensor softplus(const Tensor&);  ///< log(1 + e^x)
enum class Gelu { erf, tanh };
/// x P(Z <= x) for a standard normal Z; `tanh` is Hendrycks and Gimpel's approximation (arXiv:1606.08415).
Tensor gelu(const Tensor&, Gelu form = Gelu::erf);

/// min(max(x, low), high). Throws ValueError if low > high.
Tensor clamp(const Tensor&, double low, double high);
/// x to a constant power.
Tensor pow(const Tensor&, double exponent);

Tensor add(const Tensor&, const Tensor&);
Tensor sub(const Tensor&, const Tensor&);
Tensor mul(const Tensor&, const Tensor&);
/// Floating dtypes only.
Tensor div(const Tensor&, const Tensor&);
Tensor pow(const Tensor&, const Tensor&);
/// NaN where either is NaN.
Tensor maximum(const Tensor&, const Tensor&);
Tensor minimum(const Tensor&, const Tensor&);

/// Comparisons give bool and have no derivative.
Tensor eq(const Tensor&, const Tensor&);
Tensor ne(const Tensor&, const Tensor&);
Tensor lt(const Tensor&, const Tensor&);
Tensor le(const Tensor&, const Tensor&);
Tensor gt(const Tensor&, const Tensor&);
Tensor ge(const Tensor&, const Tensor&);

/// condition ? a : b, with a bool condition; all three broadcast.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);

/// x as another dtype: itself if it is that already. Floating to integer truncates and saturates.
Tensor to(const Tensor& x, DType);
/// x on another device: itself if it is there already.
Tensor to(const Tensor& x, Device);

/// A 0-dimensional tensor of the dtype and device of `like`.
inline Tensor scalar(double value, const Tensor& like) {
  return full({}, value, like.dtype(), like.device());
}

inline Tensor operator-(const Tensor& x) { return neg(x); }
#define BOBBIN_OPERATOR(symbol, function)                                                        \
  inline Tensor operator symbol(const Tensor& a, const Tensor& b) { return function(a, b); }     \
  inline Tensor operator symbol(const Tensor& a, double b) { return function(a, scalar(b, a)); } \
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
