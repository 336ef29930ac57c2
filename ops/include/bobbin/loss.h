// Loss functions. The prediction is the first argument, the target the second.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin {

/// How the losses of all elements (or rows) are reduced.
enum class Reduction {
  none,  ///< not reduced: one loss per element (or row)
  mean,  ///< to their mean
  sum,   ///< to their sum
};

/// The options of cross_entropy and nll_loss.
struct CrossEntropyOptions {
  Tensor weight = {};                     ///< [C], one per class; it has no gradient
  std::int64_t ignore_index = -100;       ///< rows of this class are ignored
  double label_smoothing = 0;             ///< in [0, 1]
  Reduction reduction = Reduction::mean;  ///< of the rows' losses
};

/// Softmax cross-entropy. The tape keeps logits and targets, and on a GPU also the gradient, which is
/// computed in the same pass as the loss. logits [C], [N,C] or [N,C,d...], floating: classes are on axis 1 (0
/// for one dimension). Targets are i64 class indices of logits' shape without that axis, or probabilities of
/// logits' shape and dtype. With weight w, smoothing e and p = softmax(logits), the loss of a row of class y
/// is
/// -(1-e) w[y] log p[y] - e/C sum_c w[c] log p[c]. `mean` divides by the sum of w[y] over the rows that are
/// not ignored, and is NaN if there are none; for probabilities it divides by the number of rows. (As in
/// PyTorch.) Throws ShapeError, DTypeError, ValueError, and IndexError for a class outside [0, C).
Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& = {});

/// How linear_cross_entropy divides its work.
struct LinearCrossEntropyOptions {
  std::int64_t rows = 0;  ///< rows whose logits exist at a time, at most 32768; 0: chosen by the shape
};
/// cross_entropy(linear(x, weight), target), without the matrix of logits: the last layer of a language model
/// and its loss. x [..., in], weight [classes, in]; targets are i64 class indices of x's shape without its
/// last axis, or probabilities [..., classes] of the logits' dtype. The logits of a block of rows exist at a
/// time, in f32 for 16-bit types (linear rounds them), and so do the sums of the gradients. Where a gradient
/// is needed, the forward pass computes it too, and the tape keeps it in f32 (f64 for f64), as large as x and
/// weight; losses that are not reduced are computed again in the backward pass. Other derivatives, of second
/// order or for probabilities that need a gradient, form all logits. Under Autocast, f32 x and weight are
/// rounded as linear's, the loss is f32, and the weight's gradient is not rounded. Throws as linear and
/// cross_entropy do, and ValueError for negative rows.
Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& target,
                            const CrossEntropyOptions& = {}, const LinearCrossEntropyOptions& = {});
/// The loss of log-probabilities: cross_entropy(x, t) is nll_loss(log_softmax(x, 1), t). Targets are class
/// indices. Throws ValueError for label smoothing.
Tensor nll_loss(const Tensor& log_probabilities, const Tensor& target, const CrossEntropyOptions& = {});

/// (x - y)^2.
Tensor mse_loss(const Tensor& input, const Tensor& target, Reduction = Reduction::mean);
/// |x - y|; derivative 0 where they are equal.
Tensor l1_loss(const Tensor& input, const Tensor& target, Reduction = Reduction::mean);
/// With d = |x - y|: d^2 / 2 up to delta, delta (d - delta / 2) beyond. Throws ValueError unless delta > 0.
Tensor huber_loss(const Tensor& input, const Tensor& target, double delta = 1, Reduction = Reduction::mean);
/// -t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), without overflow; a term of weight 0 is 0, also at +-inf.
Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target,
                                        Reduction = Reduction::mean);
/// t (log t - x) for log-probabilities x; 0 where t is 0. `mean` divides by the number of elements.
Tensor kl_div(const Tensor& input, const Tensor& target, Reduction = Reduction::mean);

}  // namespace bobbin
