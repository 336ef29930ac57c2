// Normalisation of each channel by the statistics of the batch: the operation that batch_norm records while
// training.
#pragma once
#include <bobbin/norm.h>
#include <bobbin/op.h>

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

/// The mean, and the variance without correction, of each channel: [2, channels], f32 or f64.
Tensor channel_moments(const Tensor& x);

/// x, its channel_moments and, if given, weight and bias -> (x - mean) / sqrt(variance + eps) weight + bias.
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

/// The tensors that the kernels of the fused derivatives read and write.
struct BatchNormBackward {
  Tensor g, x, moments, weight;  ///< the cotangent and x, row-major; moments and weight as in BatchNorm
  Tensor sums;                   ///< [2, channels]: of g, and of g (x - mean) / sqrt(variance + eps)
  Tensor x_grad;                 ///< of x's dtype

  explicit BatchNormBackward(const Vjp&);
  /// The gradients of all inputs. The kernels must have written x_grad and sums.
  Grads grads(const Vjp&) const;
};

/// Writes channel_moments of a row-major x, of f32 or f64.
void cpu_channel_moments(const Tensor& x, const Tensor& moments);
namespace cuda {
/// The same on a GPU, of any floating dtype.
void channel_moments(const Tensor& x, const Tensor& moments);
}  // namespace cuda

}  // namespace bobbin
