// Normalisation over the last axes by the root of the mean square.
#include <bobbin/norm.h>

#include "ops/norm/normalize.h"
#include "ops/norm/row_norm.h"
#include "ops/promote.h"

namespace bobbin {

Tensor rms_norm(const Tensor& input, const Shape& over, const Tensor& weight, double eps) {
  const Tensor x = in_f32(input);
  const std::int64_t length = last_axes("rms_norm", x, over);
  require_like("rms_norm", x, weight, over, "a weight");
  return record(RmsNorm{{length}, eps}, {x, weight});
}

}  // namespace bobbin
