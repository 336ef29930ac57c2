// Normalisations: one kernel each, forward and for the first derivative; gradients of any order. 16-bit
// inputs are normalised in f32, from the first load to the last store. weight and bias may be undefined.
// Floating dtypes. All throw ShapeError and DTypeError.
//
// Elements that are normalised together are called a row here. Rows of any scale are right: squares do not
// overflow, and the mean of a row far from 0 is exact to a fraction of its deviation. Equal elements give the
// bias. A row with an infinite or NaN element is NaN, as is one of equal elements with eps = 0; other rows
// are not touched by it. Rows without elements, and no rows, give an empty result.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin {

/// (x - mean) / sqrt(var + eps) weight + bias over the last axes, whose sizes are `over`: the shape of weight
/// and bias (Ba, Kiros and Hinton, arXiv:1607.06450). `over` has one axis at least. The variance is without
/// correction.
Tensor layer_norm(const Tensor& x, const Shape& over, const Tensor& weight = {}, const Tensor& bias = {},
                  double eps = 1e-5);
/// x / sqrt(mean(x^2) + eps) weight over the last axes (Zhang and Sennrich, arXiv:1910.07467).
Tensor rms_norm(const Tensor& x, const Shape& over, const Tensor& weight = {}, double eps = 1e-5);
/// layer_norm over each of `groups` groups of channels of x [n, channels, ...]; weight and bias [channels]
/// (Wu and He, arXiv:1803.08494).
Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight = {}, const Tensor& bias = {},
                  double eps = 1e-5);

/// Options of batch_norm.
struct BatchNormOptions {
  bool training =
      false;  ///< normalise by the batch and update the running statistics; else normalise by these
  double momentum = 0.1;  ///< running = (1 - momentum) running + momentum batch's
  double eps = 1e-5;      ///< added to the variance
};
/// Normalises each channel of x [n, channels, ...] over all other axes (Ioffe and Szegedy, arXiv:1502.03167).
/// weight, bias, running_mean and running_var are [channels]. Training updates the last two in place, without
/// recording, and rounds them once; running_var gets the variance with Bessel's correction, as in PyTorch.
/// They stay as they are while a backward pass through checkpoint() repeats the call. Training throws
/// ShapeError if a channel has fewer than two elements.
Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                  const Tensor& weight = {}, const Tensor& bias = {}, const BatchNormOptions& = {});

}  // namespace bobbin
