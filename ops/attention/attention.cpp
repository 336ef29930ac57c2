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
#include "ops/matmul/matmul.h"
#include "ops/softmax/masked_softmax.h"
#include "ops/wide.h"

namespace bobbin {

Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const AttentionOptions& o) {
  constexpr std::string_view op = "scaled_dot_product_attention";
  require_floating(op, query);
  if (query.rank() < 2 || key.rank() < 2 || value.rank() < 2 || query.size(-1) != key.size(-1) ||
      key.size(-2) != value.size(-2))
    fail<ShapeError>(op, ": expected query [..., l, d], key [..., s, d] and value [..., s, e]; got ",
                     query.spec(), ", ", key.spec(), " and ", value.spec());
  require_same_dtype(op, query, key);
  require_same_dtype(op, query, value);
  if (!(o.dropout >= 0 && o.dropout <= 1))
    fail<ValueError>(op, ": expected a dropout in [0, 1]; got ", o.dropout);
  const double scale = 1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(1, query.size(-1))));
  // Logits of 16-bit types are f32: they may be beyond 65504, and a rounded one of 300 would change its
  // weight by 13 %. They are scaled before the product where that is exact.
  const bool narrow = compute_type(query.dtype()) != query.dtype();
  int exponent = 0;
  const bool exact = std::frexp(scale, &exponent) == 0.5;
  Tensor logits = !narrow ? matmul(query * scale, transpose(key))
                  : exact ? wide_matmul(query * scale, transpose(key))
                          : wide_matmul(query, transpose(key)) * scale;
  const bool of_bool = o.mask && o.mask.dtype() == DType::boolean;
  if (o.mask && !of_bool) logits = logits + wide(o.mask);
  // Rows with no key to look at are 0; a causal mask alone leaves each row its first key.
  Tensor weights = !o.mask && !o.causal ? softmax(logits)
                   : of_bool            ? record(MaskedSoftmax{o.causal, true}, {logits, o.mask})
                                        : record(MaskedSoftmax{o.causal, bool(o.mask)}, {logits});
  weights = to(weights, query.dtype());
  if (o.dropout > 0) weights = dropout(weights, o.dropout);
  return matmul(weights, value);
}

}  // namespace bobbin
