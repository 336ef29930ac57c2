// Pooling and upsampling of images [n, channels, h, w]. Floating dtypes; gradients of any order. All
// functions throw ShapeError, DTypeError and ValueError.
#pragma once
#include <bobbin/conv.h>

#include <optional>

namespace bobbin {

/// Options of a pooling, in pixels.
struct PoolOptions {
  std::optional<Pair> stride = {};  ///< distance between windows; by default the size of the window
  Pair padding = 0;                 ///< added on each side of the image; at most half the window
};

/// The maximum of each window -> [n, channels, oh, ow] with oh = (h + 2 padding - window) / stride + 1,
/// rounded down; ow likewise. Padding counts as -inf, and NaN as larger than any number. The first of equal
/// maxima gets the gradient.
Tensor max_pool2d(const Tensor& x, Pair window, const PoolOptions& = {});
/// The mean of each window, with the shape of max_pool2d. Padding counts as 0, and as elements of the window.
Tensor avg_pool2d(const Tensor& x, Pair window, const PoolOptions& = {});
/// The means of windows of about equal size that cover the image -> [n, channels, size.h, size.w].
Tensor adaptive_avg_pool2d(const Tensor& x, Pair size);
/// Repeats each pixel scale.h x scale.w times -> [n, channels, h * scale.h, w * scale.w].
Tensor upsample_nearest2d(const Tensor& x, Pair scale);

}  // namespace bobbin
