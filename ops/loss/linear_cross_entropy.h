// The linear head of a classifier and its cross-entropy in one operation, by blocks of rows: the logits of
// one block exist at a time. Where a gradient is needed, the forward pass also computes the gradients of x
// and of the weight for a cotangent of 1, from the logits of each block while they exist.
#pragma once
#include <bobbin/loss.h>
#include <bobbin/op.h>

#include "ops/loss/cross_entropy.h"

namespace bobbin {

/// Inputs: x [..., in], weight [classes, in], targets as cross_entropy's, and optional class weights.
struct LinearCrossEntropy {
  CrossEntropyTerms terms;  ///< of logits [..., classes]
  std::int64_t rows = 0;    ///< of a block; 0: chosen by the shape
  DType narrow =
      DType::f32;  /// Autocast's dtype: f32 factors of products are rounded to it, and the loss is f32
  static constexpr std::string_view name = "linear_cross_entropy";
  static constexpr Saves saves = Saves::inputs;
  TensorSpec infer(Inputs) const;
  /// Unless the losses are not reduced: the gradients of x and of the weight for a cotangent of 1, in the
  /// type that kernels compute in. An empty tensor stands for one that is not needed.
  std::vector<TensorSpec> aux(Inputs) const;
  void cpu(Inputs, Tensor& out, std::span<Tensor> aux) const;
  void cuda(Inputs, Tensor& out, std::span<Tensor> aux) const;
  /// Forms all logits, so that any order follows. First derivatives by the members below do not.
  Grads vjp(const Vjp&) const;
  std::optional<Grads> fused_vjp_cpu(const Vjp&) const;
  std::optional<Grads> fused_vjp_cuda(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// The operands of the kernels. Tensors are row-major; undefined ones are not given, or not computed. Here x
/// is [N, in], and the logits are [N, classes].
struct LinearCrossEntropyCall {
  std::int64_t block;                    ///< rows whose logits exist at a time
  CrossEntropyTerms terms;               ///< with axis 1
  Tensor x, weight;                      ///< of one dtype
  Tensor target;                         ///< [N] classes, or [N, classes] probabilities
  Tensor class_weight;                   ///< [classes]
  Tensor cotangents = {};                ///< [N], of unreduced losses, in the compute type; undefined: 1
  Tensor loss = {};                      ///< [] or [N]
  Tensor x_grad = {}, weight_grad = {};  ///< in the compute type

  std::int64_t rows() const { return target.size(0); }
  std::int64_t classes() const { return weight.size(0); }
  std::int64_t in() const { return weight.size(1); }
};
void cpu_linear_cross_entropy(const LinearCrossEntropyCall&);
namespace cuda {
void linear_cross_entropy(const LinearCrossEntropyCall&);
}  // namespace cuda

}  // namespace bobbin
