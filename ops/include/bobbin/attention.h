// Scaled dot-product attention.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin {

/// The mask and the dropout of scaled_dot_product_attention.
struct AttentionOptions {
  Tensor mask = {};  ///< broadcasts to [..., l, s]: bool, true where a query attends to a key; or floating,
                     ///< added to the logits
  bool causal = false;  ///< query i attends to keys 0 to i only
  double dropout = 0;   ///< the probability that a weight is dropped
};
/// softmax(query key^T / sqrt(d) + mask) value for query [..., l, d], key [..., s, d], value [..., s, e] ->
/// [..., l, e] (Vaswani et al., arXiv:1706.03762). A query whose keys are all masked, by bool masks or by
/// -inf, gives 0 with gradient 0. Logits and their softmax are computed in f32 for 16-bit types. Throws
/// ShapeError, DTypeError, and ValueError unless 0 <= dropout <= 1.
Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const AttentionOptions& = {});

}  // namespace bobbin
