// Pooling over images [n, channels, h, w]. Floating dtypes; gradients of any order. All throw ShapeError,
// ValueError.
#pragma once
#include <bobbin/conv.h>

#include <optional>

namespace bobbin {

/// How a window goes over an image.
struct PoolOptions {
  std::optional<Pair> stride = {};  ///< the window's size where left out
  Pair padding = 0;                 ///< at most half the window
};

/// The largest of each window; padding counts as -inf, NaN is largest. The first of equal ones takes the
/// gradient.
Tensor max_pool2d(const Tensor& x, Pair window, const PoolOptions& = {});
/// The mean of each window; padding counts as 0.
Tensor avg_pool2d(const Tensor& x, Pair window, const PoolOptions& = {});
/// Means of windows of nearly one size that part the image into `size` places.
Tensor adaptive_avg_pool2d(const Tensor& x, Pair size);
/// Each pixel `scale` times, down and along.
Tensor upsample_nearest2d(const Tensor& x, Pair scale);

}  // namespace bobbin
