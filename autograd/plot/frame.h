// What line and bar charts share: title, legend, y axis and labels around a plotting area. Internal.
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
  Rect area;  ///< where the data goes
  Ticks y;

  /// The pixel height of a value; the plotting area's bottom edge is y.low.
  double to_y(double value) const { return area.bottom() - y.share(value) * area.h; }
};

/// The ends and marks of a y axis over data in [low, high], heeding the ends that `axes` fixes.
/// Throws ValueError when those are not finite or not in order.
Ticks y_axis(const Axes& axes, double low, double high, const char* name);

/// Draws the frame, leaving `foot` pixels under the plotting area for the marks of the x axis.
/// Throws ValueError when too little is left for the data.
Frame open_frame(const Axes& axes, Ticks y, const std::vector<LegendEntry>& legend, int foot,
                 const char* name);

/// Draws the two axis lines; call it last, so that they lie on top of the data.
void close_frame(Frame& frame);

}  // namespace bobbin::plot::detail
