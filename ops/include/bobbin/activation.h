// The activation functions that linear and conv2d can apply to their results.
#pragma once

namespace bobbin {

/// The function that linear and conv2d apply to their results: none, or the one of that name
/// (elementwise.h).
enum class Activation {
  none,     ///< no function: x
  relu,     ///< max(x, 0)
  gelu,     ///< x (1 + erf(x / sqrt(2))) / 2
  tanh,     ///< the hyperbolic tangent
  sigmoid,  ///< 1 / (1 + e^-x)
  silu,     ///< x sigmoid(x)
};

}  // namespace bobbin
