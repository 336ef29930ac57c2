// Normalisation over groups of channels.
#include <bobbin/norm.h>

#include <algorithm>

#include "ops/norm/normalize.h"
#include "ops/norm/row_norm.h"
#include "ops/promote.h"

namespace bobbin {

Tensor group_norm(const Tensor& input, std::int64_t groups, const Tensor& weight, const Tensor& bias,
                  double eps) {
  const Tensor x = in_f32(input);
  constexpr std::string_view op = "group_norm";
  require_channels(op, x);
  if (groups < 1 || x.size(1) % groups != 0)
    fail<ShapeError>(op, ": ", x.size(1), " channels do not part into ", groups, " groups");
  require_like(op, x, weight, {x.size(1)}, "a weight");
  require_like(op, x, bias, {x.size(1)}, "a bias");
  std::int64_t channel = 1;  // elements of one channel of one image
  for (int i = 2; i < x.rank(); ++i) channel *= x.size(i);
  return record(GroupNorm{{x.size(1) / groups * channel, groups, std::max<std::int64_t>(channel, 1)}, eps},
                {x, weight, bias});
}

}  // namespace bobbin
