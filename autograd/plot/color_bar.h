// The key of a colour map: a strip of its colours with marked values. Internal to the plot library.
#pragma once
#include "autograd/plot/canvas.h"

namespace bobbin::plot::detail {

/// A colour map, and the values `low` and `high` at its two ends.
struct ColorScale {
  ColorMap map = ColorMap::sequential;
  double low = 0, high = 1;
  Color color(double value) const;
};

/// The width in pixels that draw_color_bar() needs, for a strip of this height.
int color_bar_width(const ColorScale& scale, int height);

/// Draws the strip with its left edge at `x` and low at the bottom, with a margin around it.
void draw_color_bar(Canvas& canvas, int x, int y, int height, const ColorScale& scale);

}  // namespace bobbin::plot::detail
