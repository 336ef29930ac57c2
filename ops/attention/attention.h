// Scaled dot-product attention as one operation: what its kernels get, and its derivatives. The kernels never
// form the matrix of scores: forward keeps the output and two numbers for each query, and the first
// derivative computes the weights again from them. Derivatives of higher order, and calls that the kernels do
// not take, are made of public operations (composed.cpp).
#pragma once
#include <bobbin/attention.h>
#include <bobbin/op.h>
#include <bobbin/random.h>

namespace bobbin {

/// The attributes of attention.
struct AttentionTerms {
  double scale;         ///< of query key^T
  bool causal = false;  ///< query i attends to keys 0 to i only
  double dropout = 0;   ///< the probability that a weight is dropped
  Generator state{};    ///< Philox{state.seed, state.draws} is the draw; word ((b H + h) L + i) S + j decides
                        ///< on weight [b, h, i, j], as dropout() of the weights does
};

/// Inputs: query [b, h, l, d], key [b, k, s, d], value [b, k, s, e], where query head h reads key head
/// h / (h count / k count), and an optional mask that broadcasts to [b, h, l, s]: bool, true where a query
/// attends to a key, or floating, of the query's or of its compute type, added to the logits. A row of logits
/// that is -inf throughout gives 0 under a mask, and else NaN, as its softmax.
struct Attention {
  AttentionTerms terms;
  static constexpr std::string_view name = "scaled_dot_product_attention";
  static constexpr Saves saves = Saves::inputs | Saves::output;
  static constexpr Strided strided{Strided::input(3), Strided::input(3)};
  TensorSpec infer(Inputs) const;
  /// What the derivative computes the weights from, f32 or f64: two numbers for each query, [2, b, h, l], the
  /// largest logit and one for the sum of the exponentials; for few queries on the CPU, the weights.
  std::vector<TensorSpec> aux(Inputs) const;
  void cpu(Inputs, Tensor& out, std::span<Tensor> aux) const;
  void cuda(Inputs, Tensor& out, std::span<Tensor> aux) const;
  Grads vjp(const Vjp&) const;
  std::optional<Grads> fused_vjp_cpu(const Vjp&) const;
  std::optional<Grads> fused_vjp_cuda(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// The operands of the kernels. Tensors but the mask are row-major, of one dtype.
struct AttentionCall {
  AttentionTerms terms;
  Tensor query, key, value;
  Tensor mask = {};    ///< undefined: none; else of rank 4, each size that of [b, h, l, s] or 1, any strides
  Tensor output = {};  ///< [b, h, l, e]
  Tensor statistics = {};  ///< aux 0; forward: undefined if nothing is recorded
  Tensor grad = {};        ///< backward: the cotangent of the output
  Tensor query_grad = {}, key_grad = {}, value_grad = {};  ///< backward: the results, all three defined
};
/// Of f32 and f64.
void cpu_attention(const AttentionCall&);
void cpu_attention_backward(const AttentionCall&);

/// The same computed by public operations, which form the scores. The weights, in the compute type, are left
/// in `weights` if it is given, and taken from there if they are known.
Tensor composed_attention(const AttentionTerms&, Inputs, Tensor* weights = nullptr);
Grads composed_attention_grads(const AttentionTerms&, const Vjp&, Tensor weights = {});

}  // namespace bobbin
