// Data augmentation: random transforms of images [n, channels, height, width], drawn from the default
// generator. They run on any device and have no derivative. Floating dtypes.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin {

/// The transforms that random_affine combines. By default, none.
struct RandomAffineOptions {
  double degrees = 0;      ///< the largest rotation, in either direction, about the centre; bilinear
  std::int64_t shift = 0;  ///< the largest shift along each axis, in whole pixels
  double flip = 0;         ///< the probability of a horizontal flip
  double fill = 0;         ///< the value outside the image
};

/// Rotates, shifts and flips each image at random; the result has the shape of `images`. Throws ShapeError
/// and DTypeError; ValueError unless 0 <= degrees <= 180, 0 <= shift <= 2^20 and 0 <= flip <= 1.
Tensor random_affine(const Tensor& images, const RandomAffineOptions&);

/// Shifts each image by up to `pixels` along each axis; outside the image is `fill`.
inline Tensor random_shift(const Tensor& images, std::int64_t pixels, double fill = 0) {
  return random_affine(images, {.shift = pixels, .fill = fill});
}
/// Flips each image horizontally with probability p.
inline Tensor random_flip(const Tensor& images, double p = 0.5) { return random_affine(images, {.flip = p}); }
/// Rotates each image by up to `degrees` in either direction; outside the image is `fill`.
inline Tensor random_rotation(const Tensor& images, double degrees, double fill = 0) {
  return random_affine(images, {.degrees = degrees, .fill = fill});
}

}  // namespace bobbin
