// The key of a colour map: a strip of its colours with marked values. Internal to the plot library.
#pragma once
#include "autograd/plot/canvas.h"

namespace bobbin::plot::detail {

/// Values `low` and `high` at the two ends of `map`.
struct ColorScale {
  ColorMap map = ColorMap::sequential;
  double low = 0, high = 1;
  Color color(double value) const;
};

/// Pixels that draw_color_bar() needs to the right of a picture `height` high.
int color_bar_width(const ColorScale& scale, int height);

/// Draws the strip with its left edge at `x`, low at the bottom, with room of its own around it.
void draw_color_bar(Canvas& canvas, int x, int y, int height, const ColorScale& scale);

}  // namespace bobbin::plot::detail
