// Colours of curves and of values. The ramps are computed in OKLab, where equal steps look equal.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "autograd/plot/canvas.h"

namespace bobbin::plot {
namespace {

std::uint8_t to_srgb(double linear) {
  const double c = std::clamp(linear, 0.0, 1.0);
  const double encoded = c <= 0.0031308 ? 12.92 * c : 1.055 * std::pow(c, 1 / 2.4) - 0.055;
  return static_cast<std::uint8_t>(std::lround(255 * encoded));
}

/// The sRGB colour of an OKLab lightness (0..1), chroma and hue (degrees).
Color oklch(double lightness, double chroma, double hue) {
  const double a = chroma * std::cos(hue * std::numbers::pi / 180);
  const double b = chroma * std::sin(hue * std::numbers::pi / 180);
  const double l = std::pow(lightness + 0.3963377774 * a + 0.2158037573 * b, 3);
  const double m = std::pow(lightness - 0.1055613458 * a - 0.0638541728 * b, 3);
  const double s = std::pow(lightness - 0.0894841775 * a - 1.2914855480 * b, 3);
  return {to_srgb(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
          to_srgb(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
          to_srgb(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s)};
}

/// The colour at `t` in [0, 1], from near white to a dark colour of this hue; the chroma is largest a little
/// above the middle.
Color ramp(double t, double hue, double darkest) {
  const double chroma = 0.15 * std::sin(std::numbers::pi * (0.04 + 0.72 * t));
  return oklch(0.98 - (0.98 - darkest) * t, chroma * std::min(1.0, 0.15 + 2.2 * t), hue);
}

}  // namespace

Color map_color(ColorMap map, double t) {
  if (std::isnan(t)) return detail::kMissing;
  t = std::clamp(t, 0.0, 1.0);
  switch (map) {
    case ColorMap::grey: {
      const auto level = static_cast<std::uint8_t>(std::lround(255 * t));
      return {level, level, level};
    }
    case ColorMap::sequential:
      return ramp(t, 252, 0.32);
    case ColorMap::diverging:
      return t < 0.5 ? ramp(1 - 2 * t, 252, 0.36) : ramp(2 * t - 1, 27, 0.36);
  }
  return detail::kMissing;
}

Color series_color(std::size_t index) {
  static constexpr std::array<Color, 10> kColors{{{31, 111, 180},
                                                  {226, 106, 18},
                                                  {38, 140, 66},
                                                  {201, 42, 58},
                                                  {124, 86, 176},
                                                  {20, 150, 160},
                                                  {196, 76, 150},
                                                  {132, 92, 68},
                                                  {150, 146, 24},
                                                  {105, 112, 120}}};
  return kColors[index % kColors.size()];
}

}  // namespace bobbin::plot
