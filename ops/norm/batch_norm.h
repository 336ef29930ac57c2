// Normalisation of each channel by its batch: what batch_norm records while training. Without a tape for its
// derivative, that is two passes over g and x; with one, it is made of other operations.
#pragma once
#include <bobbin/norm.h>
#include <bobbin/op.h>

namespace bobbin {

/// How x [images, channels, ...] is cut into planes.
struct Channels {
  std::int64_t images, channels, size = 1;
  explicit Channels(const Shape& x) : images(x[0]), channels(x[1]) {
    for (int i = 2; i < x.size(); ++i) size *= x[i];
  }
  /// Elements of a channel.
  std::int64_t count() const { return images * size; }
};

/// Of each channel the mean, and the variance without correction: [2, channels], f32 or f64.
Tensor channel_moments(const Tensor& x);

/// x, its channel_moments and, where given, weight and bias -> (x - mean) / sqrt(variance + eps) weight +
/// bias.
struct BatchNorm {
  double eps;
  static constexpr std::string_view name = "batch_norm";
  static constexpr Saves saves = Saves::input(0) | Saves::input(1) | Saves::input(2);
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();

  /// What the gradient is made of besides x, its moments and the weight.
  struct Cotangent {
    const Tensor &g, &x, &moments, &weight;
  };
  /// Into x_grad, and into sums [2, channels] the sums of g and of g (x - mean) / sqrt(variance + eps).
  /// Inputs are row-major; on the CPU f32 or f64.
  void backward_cpu(const Cotangent&, const Tensor& x_grad, const Tensor& sums) const;
  void backward_cuda(const Cotangent&, const Tensor& x_grad, const Tensor& sums) const;
};

namespace cuda {
/// batch_norm.cu
void channel_moments(const Tensor& x, const Tensor& moments);
}  // namespace cuda

}  // namespace bobbin
