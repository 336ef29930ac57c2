// The convolution and its two gradients. All three are derivatives of one trilinear form, the sum of
// conv2d(x, weight) * g, with respect to one of its three arguments; so the derivatives of each are the other
// two.
#pragma once
#include <bobbin/conv.h>
#include <bobbin/op.h>

#include <optional>

#include "core/strided_copy.h"
#include "ops/elementwise/layer_activation.h"

namespace bobbin {

/// The sizes of a convolution x [n, in, h, w] * weight [out, in / groups, kh, kw] = y [n, out, oh, ow]. As
/// a matrix product, for each image and group: the weight [group_out, taps] times the im2col columns
/// [taps, output_positions].
struct ConvShape {
  ConvOptions options;
  std::int64_t n, in, h, w, out, kh, kw, oh, ow;

  std::int64_t group_in() const { return in / options.groups; }
  std::int64_t group_out() const { return out / options.groups; }
  std::int64_t taps() const { return group_in() * kh * kw; }  ///< elements that each output is a sum over
  std::int64_t output_positions() const { return oh * ow; }
  Shape x() const { return {n, in, h, w}; }
  Shape weight() const { return {out, group_in(), kh, kw}; }
  Shape y() const { return {n, out, oh, ow}; }
  /// A 1x1 kernel without stride or padding: an image is its own matrix of columns.
  bool is_pointwise() const;
  /// Whether images have padding, so that some windows have fewer products than taps.
  bool is_padded() const { return !(options.padding == Pair(0)); }
  /// Whether the CPU computes it by a direct convolution (ops/conv/cpu.h).
  bool is_direct() const;
};

/// x, weight and an optional bias -> y = activation(x * weight + bias).
struct Conv2d {
  ConvOptions options;
  Activation activation = Activation::none;
  bool wide = false;  ///< for 16-bit x and weight, the bias and the result are f32
  static constexpr std::string_view name = "conv2d";
  Saves saves(Needs needs) const { return saved_by_layer(needs, activation); }
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  /// The activation and the bias need no separate passes over memory.
  std::optional<Grads> fused_vjp_cpu(const Vjp&) const;
  std::optional<Grads> fused_vjp_cuda(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// The tensors that conv2d's fused derivatives read, row-major: x, the cotangent g, the output as a gate if
/// there is a relu, and the weight if x needs a gradient.
struct Conv2dBackwardInputs {
  Tensor x, g, gate, weight;
  Conv2dBackwardInputs(const Vjp& v, Activation activation)
      : x(row_major(v.input(0))),
        g(row_major(v.grad)),
        gate(activation == Activation::relu ? v.output() : Tensor()),
        weight(v.needs(0) ? row_major(v.input(1)) : Tensor()) {}
};

/// The cotangent g of y, the weight and an optional bias, which is added to the result -> the gradient of x,
/// whose images have `size` pixels.
struct Conv2dInputGrad {
  ConvOptions options;
  Pair size;
  bool wide = false;  ///< for 16-bit g and weight, the bias and the result are f32
  static constexpr std::string_view name = "conv2d_input_grad";
  static Saves saves(Needs needs) { return saved_by_layer(needs, Activation::none); }
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// x and the cotangent g of y -> the gradient of the weight, whose kernels have size `kernel`.
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

/// The third input; undefined where there is none.
inline Tensor bias_of(Inputs x) { return x.size() > 2 ? x[2] : Tensor(); }
/// Throws ShapeError unless the bias, where there is one, has `channels` elements, and DTypeError unless its
/// dtype is that of the other inputs.
void require_bias(std::string_view op, Inputs, std::int64_t channels);

/// Checks the shapes of x (or its gradient) and of the weight. Throws ShapeError and ValueError.
ConvShape conv_shape(std::string_view op, const ConvOptions&, const Shape& x, const Shape& weight);

}  // namespace bobbin
