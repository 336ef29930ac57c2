// Normalisation over the last axes by mean and variance.
#include <bobbin/norm.h>

#include "ops/norm/normalize.h"

namespace bobbin {

Tensor layer_norm(const Tensor& x, const Shape& over, const Tensor& weight, const Tensor& bias, double eps) {
  const Axes axes = last_axes("layer_norm", x, over);
  require_like("layer_norm", x, weight, over, "a weight");
  require_like("layer_norm", x, bias, over, "a bias");
  return in_wide(
      x, [&](auto wide) { return affine(standardized(wide(x), axes, eps), wide(weight), wide(bias)); });
}

}  // namespace bobbin
