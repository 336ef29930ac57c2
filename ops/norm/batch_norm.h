// Normalisation of each channel by the statistics of the batch: the operation that batch_norm records while
// training.
#pragma once
#include <bobbin/norm.h>
#include <bobbin/op.h>

#include "core/probe.h"

namespace bobbin {

/// The sizes of x [images, channels, ...]; a plane is one channel of one image.
struct Channels {
  std::int64_t images, channels, size = 1;  ///< size: elements of a plane
  explicit Channels(const Shape& x) : images(x[0]), channels(x[1]) {
    for (int i = 2; i < x.size(); ++i) size *= x[i];
  }
  /// Elements of a channel.
  std::int64_t count() const { return images * size; }
};

/// What a pass over the elements of each channel gives, in f32 or f64.
struct ChannelMoments {
  Tensor running;     ///< mean and variance, without correction: [2, channels]
  Tensor statistics;  ///< a RowStatistics of each channel: [channels, 4]
};
ChannelMoments channel_moments(const Tensor& x, double eps);

/// x, the statistics of its channels and, if given, weight and bias -> (x - mean) / sqrt(variance + eps)
/// weight
/// + bias.
struct BatchNorm {
  double eps;
  static constexpr std::string_view name = "batch_norm";
  static constexpr Saves saves = Saves::input(0) | Saves::input(1) | Saves::input(2);
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  /// Two passes over the cotangent and x.
  std::optional<Grads> fused_vjp_cpu(const Vjp&) const;
  std::optional<Grads> fused_vjp_cuda(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// batch_norm by running statistics, which is made of elementwise operations. Inputs: x, running_mean,
/// running_var and, if given, weight and bias. Result: y.
struct EvaluatedBatchNorm : detail::Composite {
  double eps;
  explicit EvaluatedBatchNorm(double e) : eps(e) {}
};

/// The tensors that the kernels of the fused derivatives read and write.
struct BatchNormBackward {
  Tensor g, x, statistics, weight;  ///< the cotangent and x, row-major; statistics and weight as in BatchNorm
  Tensor sums;    ///< [4, channels]: sums of g and of g times the normalised x; both divided by their count
  Tensor x_grad;  ///< of x's dtype

  explicit BatchNormBackward(const Vjp&);
  /// The gradients of all inputs. The kernels must have written x_grad and sums.
  Grads grads(const Vjp&) const;
};

/// Writes channel_moments of a row-major x, of f32 or f64.
void cpu_channel_moments(const Tensor& x, double eps, const ChannelMoments&);
namespace cuda {
/// The same on a GPU, of any floating dtype.
void channel_moments(const Tensor& x, double eps, const ChannelMoments&);
}  // namespace cuda

}  // namespace bobbin
