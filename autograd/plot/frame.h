// The frame of line and bar charts: title, legend, y axis and labels around a plotting area. Internal to the
// plot library.
#pragma once
#include <string>
#include <vector>

#include "autograd/plot/canvas.h"
#include "autograd/plot/ticks.h"

namespace bobbin::plot::detail {

struct LegendEntry {
  std::string name;
  Color color;
};

struct Frame {
  Canvas canvas;
  Rect area;  ///< the plotting area
  Ticks y;

  /// The pixel height of a value; the plotting area's bottom edge is y.low.
  double to_y(double value) const { return area.bottom() - y.share(value) * area.h; }
};

/// The ends and marks of a y axis over data in [low, high], or with the ends that `axes` fixes. Throws
/// ValueError if those are not finite or not in order.
Ticks y_axis(const Axes& axes, double low, double high, const char* name);

/// Draws the frame, and leaves `foot` pixels under the plotting area for the marks of the x axis. Throws
/// ValueError if the area for the data is too small.
Frame open_frame(const Axes& axes, Ticks y, const std::vector<LegendEntry>& legend, int foot,
                 const char* name);

/// Draws the two axis lines; to be called last, so that they are on top of the data.
void close_frame(Frame& frame);

}  // namespace bobbin::plot::detail
