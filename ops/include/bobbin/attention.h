// Attention.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin {

/// Who may look at whom, and what is dropped.
struct AttentionOptions {
  Tensor mask =
      {};  ///< broadcasts to [..., l, s]: bool, what may be looked at; or floating, added to the logits
  bool causal = false;  ///< place i of l looks at places up to i alone
  double dropout = 0;   ///< of the weights
};
/// softmax(query key^T / sqrt(d) + mask) value for query [..., l, d], key [..., s, d], value [..., s, e] ->
/// [..., l, e] (Vaswani et al., arXiv:1706.03762). A row that may look at nothing is NaN. Throws ShapeError,
/// DTypeError.
Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const AttentionOptions& = {});

}  // namespace bobbin
