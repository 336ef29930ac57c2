// Softmax cross-entropy: the loss from logits in one operation, its gradient in another. Neither keeps the
// probabilities; each computes them from the logits. On a GPU, a recorded loss leaves the gradient of the
// logits behind while it has them on chip, for a walk that starts at the loss.
#pragma once
#include <bobbin/ops.h>

namespace bobbin {

/// What both operations know of a call.
struct CrossEntropyTerms {
  int axis;  // of the classes
  std::int64_t ignore_index;
  double smoothing;
  Reduction reduction;
};

/// Inputs logits, target and, defined or not, weight.
struct CrossEntropy {
  CrossEntropyTerms terms;
  static constexpr std::string_view name = "cross_entropy";
  static constexpr Saves saves = Saves::inputs;
  TensorSpec infer(Inputs) const;
  /// On a GPU, the gradient of the logits for a cotangent of 1, where they need one.
  std::vector<TensorSpec> aux(Inputs) const;
  void cpu(Inputs, Tensor& out, std::span<Tensor>) const;
  void cuda(Inputs, Tensor& out, std::span<Tensor> aux) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// Inputs logits, target, weight, and the cotangent of the loss; gives the gradient of the logits:
/// g (p sum(t) - t) a row, where t are the row's weighted targets.
struct CrossEntropyBackward {
  CrossEntropyTerms terms;
  static constexpr std::string_view name = "cross_entropy_backward";
  static constexpr Saves saves = Saves::inputs;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// nll_loss is made of other operations; its samples are in the catalogue all the same.
std::vector<Sample> nll_loss_samples();

}  // namespace bobbin
