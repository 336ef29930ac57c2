// Normalisation over groups of channels.
#include <bobbin/norm.h>
#include <bobbin/view.h>

#include <algorithm>

#include "ops/norm/normalize.h"

namespace bobbin {

Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight, const Tensor& bias,
                  double eps) {
  constexpr std::string_view op = "group_norm";
  require_channels(op, x);
  if (groups < 1 || x.size(1) % groups != 0)
    fail<ShapeError>(op, ": ", x.size(1), " channels do not part into ", groups, " groups");
  require_like(op, x, weight, {x.size(1)}, "a weight");
  require_like(op, x, bias, {x.size(1)}, "a bias");
  return in_wide(x, [&](auto wide) {
    const Tensor parts =
        reshape(wide(x), {x.size(0), groups, x.numel() / std::max<std::int64_t>(1, x.size(0) * groups)});
    return affine(reshape(standardized(parts, {2}, eps), x.shape()), by_channel(wide(weight), x),
                  by_channel(wide(bias), x));
  });
}

}  // namespace bobbin
