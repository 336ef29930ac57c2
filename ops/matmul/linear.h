// A product with a weight, a bias and an activation in one operation.
#pragma once
#include <bobbin/activation.h>
#include <bobbin/matmul.h>
#include <bobbin/op.h>

namespace bobbin {

/// Inputs: x, weight and an optional bias.
struct Linear {
  Activation activation;
  bool wide = false;  ///< for 16-bit x and weight, the bias and the result are f32
  static constexpr std::string_view name = "linear";
  Saves saves(Needs) const;
  TensorSpec infer(Inputs) const;
  /// On a GPU, the sums that gelu and silu are applied to: their derivatives need them unrounded.
  std::vector<TensorSpec> aux(Inputs) const;
  void cpu(Inputs, Tensor& out, std::span<Tensor> aux) const;
  void cuda(Inputs, Tensor& out, std::span<Tensor> aux) const;
  Grads vjp(const Vjp&) const;
  /// Both products and the sums of columns share one list of tiles.
  std::optional<Grads> fused_vjp_cpu(const Vjp&) const;
  /// A few kernels apply the activation's derivative, multiply, and add up the gradient of the bias.
  std::optional<Grads> fused_vjp_cuda(const Vjp&) const;
  static std::vector<Sample> samples();

 private:
  Tensor sums_gradient(const Vjp&) const;
  Tensor sums_gradient_cuda(const Tensor& grad, const Tensor& sums) const;
};

}  // namespace bobbin
