// Softmax cross-entropy: one operation computes the loss from logits, another its gradient. Neither keeps the
// probabilities; each computes them from the logits. On a GPU, a recorded loss also stores the gradient of
// the logits in the same pass, for a backward pass that starts at the loss.
#pragma once
#include <bobbin/loss.h>
#include <bobbin/op.h>

namespace bobbin {

/// The attributes of both operations.
struct CrossEntropyTerms {
  int axis;  ///< of the classes
  std::int64_t ignore_index;
  double smoothing;
  Reduction reduction;
};

/// Inputs: logits, target and an optional weight.
struct CrossEntropy {
  CrossEntropyTerms terms;
  static constexpr std::string_view name = "cross_entropy";
  static constexpr Saves saves = Saves::inputs;
  TensorSpec infer(Inputs) const;
  /// On a GPU, the gradient of the logits for a cotangent of 1, if they need one.
  std::vector<TensorSpec> aux(Inputs) const;
  void cpu(Inputs, Tensor& out, std::span<Tensor>) const;
  void cuda(Inputs, Tensor& out, std::span<Tensor> aux) const;
  Grads vjp(const Vjp&) const;
  /// For a cotangent of 1: the gradient of the logits that the forward pass has stored.
  std::optional<Grads> fused_vjp_cuda(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// Inputs: logits, target, an optional weight, and the gradient g of the loss. Gives the gradient of the
/// logits, g (p sum(t) - t) for each row, where p are its probabilities and t its weighted targets.
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

namespace detail {
/// For each row, in the compute type of the logits (f32 for 16-bit ones, which cannot count 70,000 rows): the
/// weight of its class, 0 if it is ignored (undefined for probabilities); and the sum of its weighted
/// targets.
struct RowTerms {
  Tensor class_weight, sum;
};
RowTerms row_terms(const CrossEntropyTerms&, const Tensor& x, const Tensor& target, const Tensor& weight);
/// The gradient of targets that are probabilities, in the dtype of x, from the cotangent g of the loss.
Tensor target_gradient(const CrossEntropyTerms&, const Tensor& x, const Tensor& target, const Tensor& weight,
                       const Tensor& g);
/// Throws ShapeError or ValueError unless target, weight and the terms fit logits of this spec.
void check_targets(std::string_view op, const CrossEntropyTerms&, const TensorSpec& logits,
                   const Tensor& target, const Tensor& weight);
/// The shape without an axis: that of the rows along it.
Shape without(Shape shape, int axis);
/// Whether each row counts: its class is not `ignore_index`. Bool.
Tensor counted_rows(const Tensor& target, std::int64_t ignore_index);
/// Throws ShapeError if there are rows but no classes.
void require_classes(std::string_view op, const TensorSpec& x, int axis);
/// The axis of the classes; throws ShapeError for a scalar.
int class_axis(std::string_view op, const Tensor& x);
/// Throws GradError if w needs a gradient.
void refuse_weight_gradient(std::string_view op, const Tensor& w);
}  // namespace detail

/// Samples of nll_loss for the catalogue; nll_loss is composed of other operations.
std::vector<Sample> nll_loss_samples();

}  // namespace bobbin
