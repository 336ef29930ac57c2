// Line charts.
#include <bobbin/error.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/plot/frame.h"

namespace bobbin::plot {
namespace {

using namespace detail;

constexpr double kThickness = 3, kDot = 4.5;
constexpr std::size_t kMostDots = 40;  // longer curves show no dots
constexpr int kTickRoom = kTextHeight + kDescent + 10;

bool usable(double x, double y) { return std::abs(x) <= 1e300 && std::abs(y) <= 1e300; }

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

struct Extent {
  Range x, y;
  bool whole_x = true;  // every x is a whole number, as epochs are
};

Extent measure(std::span<const Series> series) {
  if (series.empty()) fail<ValueError>("lines: needs at least one series");
  Extent extent;
  for (const Series& one : series) {
    if (one.x.size() != one.y.size()) {
      fail<ShapeError>("lines: series '", one.name, "' has ", one.x.size(), " x values and ", one.y.size(),
                       " y values; it needs as many of each");
    }
    for (std::size_t i = 0; i < one.x.size(); ++i) {
      if (!usable(one.x[i], one.y[i])) continue;
      extent.x.add(one.x[i]);
      extent.y.add(one.y[i]);
      extent.whole_x = extent.whole_x && one.x[i] == std::floor(one.x[i]);
    }
  }
  if (extent.x.low > extent.x.high) fail<ValueError>("lines: no series holds a finite point");
  return extent;
}

/// As many marks as fit without their labels touching.
Ticks x_axis(const Extent& extent, int width) {
  Ticks ticks;
  for (int wanted = std::max(2, width / 70); wanted >= 1; --wanted) {
    ticks = make_ticks(extent.x.low, extent.x.high, {.wanted = wanted, .whole = extent.whole_x});
    const int room = width / static_cast<int>(ticks.at.size() + 1);
    if (widest(ticks.labels) + 16 <= room) break;
  }
  // Keep the first and the last point off the frame.
  const double pad = 0.03 * (ticks.high - ticks.low);
  ticks.low -= pad;
  ticks.high += pad;
  return ticks;
}

void draw_x_axis(Frame& frame, const Ticks& ticks) {
  const Rect area = frame.area;
  for (std::size_t i = 0; i < ticks.at.size(); ++i) {
    const int x = area.x + static_cast<int>(std::lround(ticks.share(ticks.at[i]) * area.w));
    frame.canvas.fill({x, area.y, 1, area.h}, kGrid);
    frame.canvas.text(x, area.bottom() + 10, ticks.labels[i], kMuted, Align::center);
  }
}

bool inside(Point p, Rect area) {
  return p.x >= area.x - 0.5 && p.x <= area.right() + 0.5 && p.y >= area.y - 0.5 &&
         p.y <= area.bottom() + 0.5;
}

void draw_series(Frame& frame, const Ticks& x, const Series& series, Color color) {
  std::vector<Point> run;
  const bool dots = series.x.size() <= kMostDots;
  const auto finish = [&] {
    frame.canvas.polyline(run, color, kThickness, frame.area);
    // A lone point has no line to be seen by.
    for (const Point p : run) {
      if ((dots || run.size() == 1) && inside(p, frame.area)) frame.canvas.disc(p, kDot, color);
    }
    run.clear();
  };
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    if (usable(series.x[i], series.y[i])) {
      // Bounded, so that values far outside fixed axes cannot overflow where the line is cut.
      constexpr double kFar = 1e7;
      run.push_back({std::clamp(frame.area.x + x.share(series.x[i]) * frame.area.w, -kFar, kFar),
                     std::clamp(frame.to_y(series.y[i]), -kFar, kFar)});
    } else if (!run.empty()) {
      finish();
    }
  }
  if (!run.empty()) finish();
}

}  // namespace

Image lines(std::span<const Series> series, const Axes& axes) {
  const Extent extent = measure(series);
  std::vector<LegendEntry> legend;
  for (std::size_t i = 0; i < series.size(); ++i) {
    if (!series[i].name.empty()) legend.push_back({series[i].name, series_color(i)});
  }
  Frame frame =
      open_frame(axes, y_axis(axes, extent.y.low, extent.y.high, "lines"), legend, kTickRoom, "lines");
  const Ticks x = x_axis(extent, frame.area.w);
  draw_x_axis(frame, x);
  close_frame(frame);
  for (std::size_t i = 0; i < series.size(); ++i) draw_series(frame, x, series[i], series_color(i));
  return std::move(frame.canvas).take();
}

}  // namespace bobbin::plot
