// The functions that layers apply to their results.
#pragma once

namespace bobbin {

/// What linear and conv2d apply to their results: nothing, or the function of that name (elementwise.h).
enum class Activation {
  none,     ///< nothing
  relu,     ///< max(x, 0)
  gelu,     ///< the exact form
  tanh,     ///< the hyperbolic tangent
  sigmoid,  ///< 1 / (1 + e^-x)
  silu,     ///< x sigmoid(x)
};

}  // namespace bobbin
