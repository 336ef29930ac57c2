// Convolutions as matrix products: an image's windows become the columns of a matrix. The three operations
// are one trilinear form, sum y g = conv2d(x, w) . g, by each of its arguments, so that their derivatives are
// each other.
#pragma once
#include <bobbin/conv.h>
#include <bobbin/op.h>

#include <optional>

#include "ops/elementwise/layer_activation.h"

namespace bobbin {

/// All sizes of a convolution.
struct ConvShape {
  ConvOptions options;
  std::int64_t n, in, h, w, out, kh, kw, oh, ow;

  std::int64_t group_in() const { return in / options.groups; }
  std::int64_t group_out() const { return out / options.groups; }
  std::int64_t window() const { return group_in() * kh * kw; }  ///< rows of the matrix of a group
  std::int64_t places() const { return oh * ow; }               ///< its columns
  Shape x() const { return {n, in, h, w}; }
  Shape weight() const { return {out, group_in(), kh, kw}; }
  Shape y() const { return {n, out, oh, ow}; }
  /// Whether an image is its own matrix.
  bool is_product() const;
  /// Whether ops/conv/shift.h does it on the CPU.
  bool is_shift() const;
};

/// x, weight and, where given, bias -> y, the activated sums.
struct Conv2d {
  ConvOptions options;
  Activation activation = Activation::none;
  static constexpr std::string_view name = "conv2d";
  Saves saves(Needs needs) const { return saved_by_layer(needs, activation); }
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();

 private:
  Tensor before_activation(const Vjp&) const;
  /// The gradients, where nothing is recorded, without passes over memory of their own for the activation
  /// and the bias. None, and nothing is done, where that cannot be.
  std::optional<Grads> fused_vjp(const Vjp&) const;
};

/// The cotangent g of y, weight and, where given, a bias of the result -> the gradient of x, of h x w.
struct Conv2dInputGrad {
  ConvOptions options;
  Pair size;
  static constexpr std::string_view name = "conv2d_input_grad";
  static Saves saves(Needs needs) { return saved_by_layer(needs, Activation::none); }
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// x and g -> the gradient of a weight of kh x kw.
struct Conv2dWeightGrad {
  ConvOptions options;
  Pair kernel;
  static constexpr std::string_view name = "conv2d_weight_grad";
  static Saves saves(Needs needs) { return saved_by_layer(needs, Activation::none); }
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// The third input, where there is one.
inline Tensor bias_of(Inputs x) { return x.size() > 2 ? x[2] : Tensor(); }
/// Throws ShapeError unless a bias has an element a channel.
void require_bias(std::string_view op, Inputs, std::int64_t channels);

/// Of an operation's x (or its gradient), weight and y, given where an operation has it. Throws ShapeError.
ConvShape conv_shape(std::string_view op, const ConvOptions&, const Shape& x, const Shape& weight);

}  // namespace bobbin
