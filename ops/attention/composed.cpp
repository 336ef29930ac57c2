// Attention made of products, softmax and dropout. Higher derivatives follow from it, and calls that the
// kernels do not take run it.
#include <bobbin/elementwise.h>
#include <bobbin/matmul.h>
#include <bobbin/reduce.h>
#include <bobbin/softmax.h>
#include <bobbin/view.h>

#include <cmath>

#include "ops/attention/attention.h"
#include "ops/matmul/matmul.h"
#include "ops/random/dropout.h"
#include "ops/softmax/masked_softmax.h"
#include "ops/wide.h"

namespace bobbin {
namespace {

Tensor shaped(const Tensor& x, const Shape& shape) { return x.shape() == shape ? x : reshape(x, shape); }

// x [b, h, l, n] as [b, k, (h / k) l, n]: the queries of the heads that read one key head are one matrix.
Tensor by_key_head(const Tensor& x, const Tensor& key) {
  if (x.size(1) == key.size(1)) return x;
  const std::int64_t heads = key.size(1);
  return reshape(x, {x.size(0), heads, x.size(1) / heads * x.size(2), x.size(3)});
}

// Logits of 16-bit types are f32: they may be beyond 65504, and a rounded one of 300 would change its weight
// by 13 %. They are scaled before the product where that is exact.
Tensor logits_of(double scale, const Tensor& query, const Tensor& key) {
  const bool narrow = compute_type(query.dtype()) != query.dtype();
  int exponent = 0;
  const bool exact = std::frexp(scale, &exponent) == 0.5;
  const Tensor q = by_key_head(query, key), k = transpose(key);
  const Tensor y = !narrow ? matmul(q * scale, k)
                   : exact ? wide_matmul(q * scale, k)
                           : wide_matmul(q, k) * scale;
  return shaped(y, {query.size(0), query.size(1), query.size(2), key.size(2)});
}

// The softmax of the logits, in the compute type: [b, h, l, s].
Tensor weights_of(const AttentionTerms& terms, const Tensor& query, const Tensor& key, const Tensor& mask) {
  Tensor logits = logits_of(terms.scale, query, key);
  const bool of_bool = mask && mask.dtype() == DType::boolean;
  if (mask && !of_bool) logits = logits + wide(mask);
  // Rows with no key to look at are 0; a causal mask alone leaves each row its first key.
  if (!mask && !terms.causal) return softmax(logits);
  const MaskedSoftmax op{terms.causal, bool(mask)};
  return of_bool ? record(op, {logits, mask}) : record(op, {logits});
}

Tensor dropped(const AttentionTerms& terms, const Tensor& x) {
  return terms.dropout > 0 ? record(Dropout{terms.dropout, terms.state}, {x}) : x;
}

}  // namespace

Tensor composed_attention(const AttentionTerms& terms, Inputs x, Tensor* weights) {
  const Tensor &query = x[0], &key = x[1], &value = x[2];
  const Tensor wide = weights_of(terms, query, key, x[3]);
  if (weights) *weights = wide;
  return shaped(matmul(by_key_head(dropped(terms, to(wide, query.dtype())), key), value),
                {query.size(0), query.size(1), query.size(2), value.size(3)});
}

// With weights P, logits S and output O = P V: dV = P^T dO, dS = softmax_backward(P, dO V^T), dQ = scale dS K
// and dK = scale dS^T Q.
Grads composed_attention_grads(const AttentionTerms& terms, const Vjp& v, Tensor weights) {
  const Tensor &query = v.input(0), &key = v.input(1), &value = v.input(2),
               mask = v.has_input(3) ? v.input(3) : Tensor();
  const DType narrow = query.dtype();
  // A GPU multiplies 16-bit factors, which its tensor cores take; the CPU computes in f32 in any case.
  const auto factor = [&](const Tensor& x) { return query.device().is_cuda() ? to(x, narrow) : wide(x); };
  const auto product = [&](const Tensor& a, const Tensor& b) { return wide_matmul(factor(a), factor(b)); };
  const auto grouped = [&](const Tensor& x) { return by_key_head(x, key); };
  const Tensor g = grouped(v.grad);
  if (!weights) weights = weights_of(terms, query, key, mask);
  Grads out(4);
  if (v.needs(2)) out[2] = to(product(transpose(grouped(dropped(terms, weights))), g), narrow);
  if (!v.needs(0) && !v.needs(1) && !v.needs(3)) return out;
  const Tensor of_weights = dropped(terms, shaped(product(g, transpose(value)), weights.shape()));
  const Tensor of_logits = softmax_backward(weights, of_weights, -1);
  if (v.needs(0)) out[0] = to(shaped(product(grouped(of_logits), key), query.shape()) * terms.scale, narrow);
  if (v.needs(1))
    out[1] = to(product(transpose(grouped(of_logits)), grouped(wide(query) * terms.scale)), narrow);
  if (v.needs(3)) out[3] = to(sum_to(of_logits, v.spec(3).shape), v.spec(3).dtype);
  return out;
}

}  // namespace bobbin
