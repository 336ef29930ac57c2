// Normalisation over the last axes by mean and variance.
#include <bobbin/norm.h>

#include "ops/norm/normalize.h"
#include "ops/norm/row_norm.h"
#include "ops/promote.h"

namespace bobbin {

Tensor layer_norm(const Tensor& input, const Shape& over, const Tensor& weight, const Tensor& bias,
                  double eps) {
  const Tensor x = in_f32(input);
  const std::int64_t length = last_axes("layer_norm", x, over);
  require_like("layer_norm", x, weight, over, "a weight");
  require_like("layer_norm", x, bias, over, "a bias");
  return record(LayerNorm{{length}, eps}, {x, weight, bias});
}

}  // namespace bobbin
