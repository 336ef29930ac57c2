// Convolutions over images [n, channels, height, width] and sequences [n, channels, length], as PyTorch has
// them: the kernel is not mirrored. Floating dtypes; 16-bit products are summed in f32. On a GPU f32 products
// are f32 unless allow_tf32(true). Gradients of any order. All throw ShapeError and DTypeError.
#pragma once
#include <bobbin/activation.h>
#include <bobbin/tensor.h>

namespace bobbin {

/// Something for the height and for the width.
struct Pair {
  std::int64_t h;  ///< of the height
  std::int64_t w;  ///< of the width
  /// The same for both.
  constexpr Pair(std::int64_t both) : h(both), w(both) {}
  /// One for each.
  constexpr Pair(std::int64_t height, std::int64_t width) : h(height), w(width) {}
  /// Whether both agree.
  friend constexpr bool operator==(Pair, Pair) = default;
};

/// How a kernel goes over an image.
struct ConvOptions {
  Pair stride = 1;          ///< distance of the places where the kernel is laid
  Pair padding = 0;         ///< zeros on either side
  Pair dilation = 1;        ///< distance of the kernel's elements
  std::int64_t groups = 1;  ///< of channels: each makes its own part of the outputs
};

/// x [n, in, h, w], weight [out, in / groups, kh, kw], bias [out] or undefined -> [n, out, oh, ow] with
/// oh = (h + 2 padding - dilation (kh - 1) - 1) / stride + 1, rounded down. The activation is applied to the
/// sums in the same operation.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const ConvOptions& = {},
              Activation = Activation::none);

/// x [n, in, length], weight [out, in / groups, k]; options by their .w.
Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const ConvOptions& = {},
              Activation = Activation::none);

/// The gradient of conv2d for its x, as a layer: x [n, in, h, w], weight [in, out / groups, kh, kw], bias
/// [out] -> [n, out, (h - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1, ...].
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                        const ConvOptions& = {}, Pair output_padding = 0);

}  // namespace bobbin
