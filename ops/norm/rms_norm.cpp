// Normalisation over the last axes by the root of the mean square.
#include <bobbin/norm.h>
#include <bobbin/reduce.h>

#include "ops/norm/normalize.h"

namespace bobbin {

Tensor rms_norm(const Tensor& x, const Shape& over, const Tensor& weight, double eps) {
  const Axes axes = last_axes("rms_norm", x, over);
  require_like("rms_norm", x, weight, over, "a weight");
  return in_wide(x, [&](auto wide) {
    const Tensor t = wide(x);
    return affine(t * rsqrt(mean(square(t), axes, true) + eps), wide(weight), {});
  });
}

}  // namespace bobbin
