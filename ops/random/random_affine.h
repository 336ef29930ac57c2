// random_affine, whose draw is a function of its state, as dropout's is.
#pragma once
#include <bobbin/augment.h>
#include <bobbin/op.h>
#include <bobbin/random.h>

#include <cmath>
#include <numbers>

#include "core/philox.h"

namespace bobbin {

struct RandomAffine {
  RandomAffineOptions options;
  Generator state;  ///< Philox{state.seed, state.draws} is the draw; block i is image i's
  static constexpr std::string_view name = "random_affine";
  static constexpr bool differentiable = false;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  static std::vector<Sample> samples();
};

/// What is done to an image: where each of its pixels comes from.
struct Motion {
  int down, along;  // pixels
  bool flipped, turned;
  double cosine = 1, sine = 0;

  BOBBIN_HD Motion(const RandomAffineOptions& o, const Philox::Block& draw)
      : down(shift(o, draw.v[0])),
        along(shift(o, draw.v[1])),
        flipped(to_unit(draw.v[2]) < o.flip),
        turned(o.degrees > 0) {
    if (!turned) return;
    const double angle = (2. * to_unit(draw.v[3]) - 1) * o.degrees * std::numbers::pi / 180;
    cosine = std::cos(angle);
    sine = std::sin(angle);
  }

  /// Pixel (y, x) of the copy of `plane`, h x w, computed as W.
  template<class W, class T>
  BOBBIN_HD W pixel(const T* plane, int h, int w, int y, int x, W fill) const {
    const auto at = [&](int r, int c) {
      return r >= 0 && r < h && c >= 0 && c < w ? static_cast<W>(plane[r * w + c]) : fill;
    };
    if (flipped) x = w - 1 - x;
    if (!turned) return at(y + down, x + along);
    const double middle = (h - 1) / 2., centre = (w - 1) / 2., v = y + down - middle, u = x + along - centre;
    const double row = middle + cosine * v - sine * u, column = centre + sine * v + cosine * u;
    const double top = std::floor(row), left = std::floor(column);
    const int r = static_cast<int>(top), c = static_cast<int>(left);
    const W below = static_cast<W>(row - top), right = static_cast<W>(column - left);
    const auto between = [](W a, W b, W share) { return a + (b - a) * share; };
    return between(between(at(r, c), at(r, c + 1), right), between(at(r + 1, c), at(r + 1, c + 1), right),
                   below);
  }

 private:
  static BOBBIN_HD int shift(const RandomAffineOptions& o, std::uint32_t word) {
    const auto n = static_cast<std::uint64_t>(2 * o.shift + 1);
    return static_cast<int>(word * n >> 32) - static_cast<int>(o.shift);
  }
};

}  // namespace bobbin
