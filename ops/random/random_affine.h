// The operation random_affine, whose draw is a function of the generator's state, and the transform of one
// image, which CPU and GPU share.
#pragma once
#include <bobbin/augment.h>
#include <bobbin/op.h>
#include <bobbin/random.h>

#include <cmath>
#include <numbers>

#include "core/philox.h"

namespace bobbin {

/// A shifted, rotated and mirrored copy of each image. It has no derivative.
struct RandomAffine {
  RandomAffineOptions options;
  Generator state;  ///< Philox{state.seed, state.draws} is the draw; image i uses block i
  static constexpr std::string_view name = "random_affine";
  static constexpr bool differentiable = false;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  static std::vector<Sample> samples();
};

/// The transform of one image. Maps a pixel of the copy to a point of the image: a flip, then a shift by
/// whole pixels, then a rotation about the centre.
struct AffineTransform {
  int shift_h, shift_w;
  bool flipped, rotated;
  double cosine = 1, sine = 0;

  BOBBIN_HD AffineTransform(const RandomAffineOptions& o, const Philox::Block& draw)
      : shift_h(shift(o, draw.v[0])),
        shift_w(shift(o, draw.v[1])),
        flipped(draw.v[2] * 0x1p-32 < o.flip),
        rotated(o.degrees > 0) {
    if (!rotated) return;
    const double angle = (2. * to_unit(draw.v[3]) - 1) * o.degrees * std::numbers::pi / 180;
    cosine = std::cos(angle);
    sine = std::sin(angle);
  }

  /// Pixel (y, x) of the copy of `plane` [h, w], computed in W; with a rotation, by bilinear interpolation.
  /// The value outside the plane is `fill`.
  template<class W, class T>
  BOBBIN_HD W pixel(const T* plane, int h, int w, int y, int x, W fill) const {
    const auto at = [&](int r, int c) {
      return r >= 0 && r < h && c >= 0 && c < w ? static_cast<W>(plane[r * w + c]) : fill;
    };
    if (flipped) x = w - 1 - x;
    if (!rotated) return at(y + shift_h, x + shift_w);
    const double middle = (h - 1) / 2., centre = (w - 1) / 2., v = y + shift_h - middle,
                 u = x + shift_w - centre;
    const double row = middle + cosine * v - sine * u, column = centre + sine * v + cosine * u;
    const double top = std::floor(row), left = std::floor(column);
    const int r = static_cast<int>(top), c = static_cast<int>(left);
    const W below = static_cast<W>(row - top), right = static_cast<W>(column - left);
    const auto lerp = [](W a, W b, W share) { return a + (b - a) * share; };
    return lerp(lerp(at(r, c), at(r, c + 1), right), lerp(at(r + 1, c), at(r + 1, c + 1), right), below);
  }

 private:
  static BOBBIN_HD int shift(const RandomAffineOptions& o, std::uint32_t word) {
    const auto n = static_cast<std::uint64_t>(2 * o.shift + 1);
    return static_cast<int>(word * n >> 32) - static_cast<int>(o.shift);
  }
};

}  // namespace bobbin
