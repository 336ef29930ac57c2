// Scaled dot-product attention, composed of products, softmax and dropout.
#include <bobbin/attention.h>
#include <bobbin/dropout.h>
#include <bobbin/elementwise.h>
#include <bobbin/matmul.h>
#include <bobbin/softmax.h>
#include <bobbin/view.h>

#include <algorithm>
#include <cmath>

#include "ops/check.h"

namespace bobbin {

Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const AttentionOptions& o) {
  constexpr std::string_view op = "scaled_dot_product_attention";
  require_floating(op, query);
  if (query.rank() < 2 || key.rank() < 2 || value.rank() < 2 || query.size(-1) != key.size(-1) ||
      key.size(-2) != value.size(-2))
    fail<ShapeError>(op, ": expected query [..., l, d], key [..., s, d] and value [..., s, e]; got ",
                     query.spec(), ", ", key.spec(), " and ", value.spec());
  if (!(o.dropout >= 0 && o.dropout <= 1))
    fail<ValueError>(op, ": expected a dropout in [0, 1]; got ", o.dropout);
  const double scale = 1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(1, query.size(-1))));
  Tensor logits = matmul(query * scale, transpose(key));
  const bool fused = o.mask && o.mask.dtype() == DType::boolean;
  if (o.mask && !fused) logits = logits + o.mask;
  Tensor weights =
      fused || o.causal ? masked_softmax(logits, fused ? o.mask : Tensor(), o.causal) : softmax(logits);
  if (o.dropout > 0) weights = dropout(weights, o.dropout);
  return matmul(weights, value);
}

}  // namespace bobbin
