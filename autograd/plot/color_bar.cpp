// Draws the strip of colours beside a heat map.
#include "autograd/plot/color_bar.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/plot/ticks.h"

namespace bobbin::plot::detail {
namespace {

constexpr int kLead = 24, kStrip = 18, kMark = 5, kGap = 6;

Ticks marks(const ColorScale& scale, int height) {
  Ticks ticks;
  for (int wanted = std::clamp(height / 60, 2, 6); wanted <= 8 && ticks.at.size() < 3; ++wanted) {
    ticks = make_ticks(scale.low, scale.high, {.wanted = wanted});
  }
  return ticks;
}

}  // namespace

Color ColorScale::color(double value) const {
  // Uses halves, because high - low could overflow.
  const double t = (value / 2 - low / 2) / (high / 2 - low / 2);
  return map_color(map, std::isfinite(value) ? t : std::numeric_limits<double>::quiet_NaN());
}

int color_bar_width(const ColorScale& scale, int height) {
  return kLead + kStrip + kMark + kGap + widest(marks(scale, height).labels);
}

void draw_color_bar(Canvas& canvas, int x, int y, int height, const ColorScale& scale) {
  const int left = x + kLead;
  for (int row = 0; row < height; ++row) {
    const double t = 1 - (row + 0.5) / height;
    canvas.fill({left, y + row, kStrip, 1}, map_color(scale.map, t));
  }
  canvas.frame({left, y, kStrip, height}, kFaint, 1);
  const Ticks ticks = marks(scale, height);
  for (std::size_t i = 0; i < ticks.at.size(); ++i) {
    const int row = y + height - 1 - static_cast<int>(std::lround(ticks.share(ticks.at[i]) * (height - 1)));
    canvas.fill({left + kStrip + 1, row, kMark, 1}, kFaint);
    canvas.text(left + kStrip + kMark + kGap, row - kTextHeight / 2, ticks.labels[i], kMuted);
  }
}

}  // namespace bobbin::plot::detail
