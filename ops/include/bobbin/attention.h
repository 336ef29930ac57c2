// Scaled dot-product attention.
#pragma once
#include <bobbin/tensor.h>

#include <optional>

namespace bobbin {

/// The options of scaled_dot_product_attention.
struct AttentionOptions {
  Tensor mask = {};  ///< broadcasts to [..., l, s]: bool, true where a query attends to a key; or floating,
                     ///< added to the logits
  bool causal = false;               ///< query i attends to keys 0 to i only
  double dropout = 0;                ///< the probability that a weight is dropped
  std::optional<double> scale = {};  ///< in place of 1 / sqrt(d)
  bool enable_gqa = false;  ///< grouped-query attention: the third axis from the end counts heads, h of the
                            ///< query and k of key and value, and head i of the query reads head i / (h / k)
};
/// softmax(scale query key^T + mask) value for query [..., l, d], key [..., s, d], value [..., s, e] ->
/// [..., l, e], with scale = 1 / sqrt(d) (Vaswani et al., arXiv:1706.03762). Leading axes broadcast. The
/// scores are not kept: forward and first derivative take memory linear in l + s, derivatives of higher
/// order and the gradient of a floating mask l s. A query whose keys are all masked, by bool masks or by
/// -inf, gives 0 with gradient 0. Logits and their softmax are computed in f32 for 16-bit types. On a GPU,
/// 16-bit weights and their gradients are rounded to 16 bits as factors of the products that follow, so that
/// a gradient whose terms cancel may keep their rounding, and logits beyond 2^24 are not told apart. Under
/// Autocast, f32 operands are rounded to its dtype, and the result's dtype is that of products. Throws
/// ShapeError, DTypeError, and ValueError unless 0 <= dropout <= 1 and the scale is finite.
Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const AttentionOptions& = {});

}  // namespace bobbin
