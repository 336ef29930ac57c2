// Convolutions of images [n, channels, height, width] and of sequences [n, channels, length]. As in PyTorch,
// they are cross-correlations: the kernel is not mirrored. Floating dtypes; sums of 16-bit products are f32.
// On a GPU, f32 products are computed in f32 unless allow_tf32(true). Gradients of any order. All functions
// throw ShapeError, DTypeError and ValueError.
#pragma once
#include <bobbin/activation.h>
#include <bobbin/tensor.h>

namespace bobbin {

/// A number for the height and one for the width.
struct Pair {
  std::int64_t h;  ///< for the height
  std::int64_t w;  ///< for the width
  /// The same number for both.
  constexpr Pair(std::int64_t both) : h(both), w(both) {}
  /// One number for each.
  constexpr Pair(std::int64_t height, std::int64_t width) : h(height), w(width) {}
  /// Whether both numbers are equal.
  friend constexpr bool operator==(Pair, Pair) = default;
};

/// Options of a convolution, in pixels.
struct ConvOptions {
  Pair stride = 1;          ///< distance between the inputs of neighbouring outputs
  Pair padding = 0;         ///< zeros added on each side of the image
  Pair dilation = 1;        ///< distance between neighbouring elements of the kernel
  std::int64_t groups = 1;  ///< of channels: each group of outputs reads one group of inputs
};

/// x [n, in, h, w], weight [out, in / groups, kh, kw], bias [out] or undefined -> [n, out, oh, ow] with
/// oh = (h + 2 padding - dilation (kh - 1) - 1) / stride + 1, rounded down; ow likewise. The result is
/// activation(x * weight + bias), in one operation.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const ConvOptions& = {},
              Activation = Activation::none);

/// x [n, in, length], weight [out, in / groups, k], bias [out] or undefined -> [n, out, length of the
/// output], like conv2d of images of height 1. Of each option, the number for the width counts.
Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const ConvOptions& = {},
              Activation = Activation::none);

/// The transposed convolution, which is the gradient of conv2d with respect to its x: x [n, in, h, w], weight
/// [in, out / groups, kh, kw], bias [out] or undefined -> [n, out, oh, ow] with
/// oh = (h - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1; ow likewise. output_padding must
/// be less than the stride or the dilation.
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                        const ConvOptions& = {}, Pair output_padding = 0);

}  // namespace bobbin
