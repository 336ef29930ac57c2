// Random changes of images [n, channels, height, width] that keep their class: for training, by one operation
// on any device, drawn from the default generator. They have no derivative. Floating dtypes.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin {

/// What random_affine may do to each image. All of it at once, by default nothing.
struct RandomAffineOptions {
  double degrees = 0;      ///< turn it by up to this much either way, about its middle; bilinear
  std::int64_t shift = 0;  ///< move it by up to so many whole pixels along both axes
  double flip = 0;         ///< probability that left and right change places
  double fill = 0;         ///< what comes in from outside
};

/// Each image turned, moved and mirrored at random. Throws ShapeError and DTypeError; ValueError unless
/// 0 <= degrees <= 180, 0 <= shift <= 2^20 and 0 <= flip <= 1.
Tensor random_affine(const Tensor& images, const RandomAffineOptions&);

/// Moves each image by up to `pixels` along both axes; what comes in from outside is `fill`.
inline Tensor random_shift(const Tensor& images, std::int64_t pixels, double fill = 0) {
  return random_affine(images, {.shift = pixels, .fill = fill});
}
/// Mirrors each image left to right with probability p.
inline Tensor random_flip(const Tensor& images, double p = 0.5) { return random_affine(images, {.flip = p}); }
/// Turns each image by up to `degrees` either way.
inline Tensor random_rotation(const Tensor& images, double degrees, double fill = 0) {
  return random_affine(images, {.degrees = degrees, .fill = fill});
}

}  // namespace bobbin
