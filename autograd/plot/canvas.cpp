// Canvas: draws filled shapes and anti-aliased lines.
#include "autograd/plot/canvas.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace bobbin::plot::detail {
namespace {

std::uint8_t mix(std::uint8_t under, std::uint8_t over, double share) {
  return static_cast<std::uint8_t>(std::lround(under + (over - under) * share));
}

Rect intersect(Rect a, Rect b) {
  const int x = std::max(a.x, b.x), y = std::max(a.y, b.y);
  return {x, y, std::max(0, std::min(a.right(), b.right()) - x),
          std::max(0, std::min(a.bottom(), b.bottom()) - y)};
}

/// Cuts the segment a-b to `clip` (Liang-Barsky); returns false if no part of it is inside.
bool cut(Point& a, Point& b, Rect clip) {
  const double dx = b.x - a.x, dy = b.y - a.y;
  const std::array<double, 4> step{-dx, dx, -dy, dy};
  const std::array<double, 4> room{a.x - clip.x, clip.right() - a.x, a.y - clip.y, clip.bottom() - a.y};
  double enter = 0, leave = 1;
  for (std::size_t side = 0; side < 4; ++side) {
    if (step[side] == 0) {
      if (room[side] < 0) return false;
    } else if (step[side] < 0) {
      enter = std::max(enter, room[side] / step[side]);
    } else {
      leave = std::min(leave, room[side] / step[side]);
    }
  }
  if (enter > leave) return false;
  b = {a.x + leave * dx, a.y + leave * dy};
  a = {a.x + enter * dx, a.y + enter * dy};
  return true;
}

/// The fraction of each pixel that a curve covers. The segments of a curve are collected here and blended
/// into the picture once, so that pixels where segments meet are not blended twice.
class Coverage {
 public:
  explicit Coverage(Rect area)
      : area_(area), share_(static_cast<std::size_t>(area.w) * static_cast<std::size_t>(area.h)) {}

  void segment(Point a, Point b, double half) {
    const double dx = b.x - a.x, dy = b.y - a.y;
    const bool steep = std::abs(dy) > std::abs(dx);
    const double reach = half + 1;
    // Loops along the longer direction; in the other direction, only over the few pixels near the line.
    const double from = steep ? std::min(a.y, b.y) : std::min(a.x, b.x);
    const double to = steep ? std::max(a.y, b.y) : std::max(a.x, b.x);
    const double slope = steep ? (dy == 0 ? 0 : dx / dy) : (dx == 0 ? 0 : dy / dx);
    for (int i = static_cast<int>(std::floor(from - reach)); i <= to + reach; ++i) {
      const double middle = steep ? a.x + (i + 0.5 - a.y) * slope : a.y + (i + 0.5 - a.x) * slope;
      const double spread = reach * 1.5 + std::abs(slope);
      for (int j = static_cast<int>(std::floor(middle - spread)); j <= middle + spread; ++j) {
        if (steep) {
          touch(j, i, a, b, half);
        } else {
          touch(i, j, a, b, half);
        }
      }
    }
  }

  void paint(Canvas& canvas, Color color) const {
    std::size_t at = 0;
    for (int y = area_.y; y < area_.bottom(); ++y) {
      for (int x = area_.x; x < area_.right(); ++x, ++at) {
        if (share_[at] > 0) canvas.blend(x, y, color, share_[at]);
      }
    }
  }

 private:
  void touch(int x, int y, Point a, Point b, double half) {
    if (x < area_.x || y < area_.y || x >= area_.right() || y >= area_.bottom()) return;
    const double dx = b.x - a.x, dy = b.y - a.y, px = x + 0.5 - a.x, py = y + 0.5 - a.y;
    const double length2 = dx * dx + dy * dy;
    const double t = length2 > 0 ? std::clamp((px * dx + py * dy) / length2, 0.0, 1.0) : 0.0;
    const double distance = std::hypot(px - t * dx, py - t * dy);
    float& share = share_[static_cast<std::size_t>(y - area_.y) * static_cast<std::size_t>(area_.w) +
                          static_cast<std::size_t>(x - area_.x)];
    share = std::max(share, static_cast<float>(std::clamp(half + 0.5 - distance, 0.0, 1.0)));
  }

  Rect area_;
  std::vector<float> share_;
};

}  // namespace

void Canvas::blend(int x, int y, Color color, double coverage) {
  if (x < 0 || y < 0 || x >= width() || y >= height()) return;
  Color& under = image_.at(x, y);
  under = {mix(under.r, color.r, coverage), mix(under.g, color.g, coverage), mix(under.b, color.b, coverage)};
}

void Canvas::fill(Rect area, Color color) {
  const Rect inside = intersect(area, {0, 0, width(), height()});
  for (int y = inside.y; y < inside.bottom(); ++y) {
    for (int x = inside.x; x < inside.right(); ++x) image_.at(x, y) = color;
  }
}

void Canvas::hatch(Rect area, Color color) {
  const Rect inside = intersect(area, {0, 0, width(), height()});
  for (int y = inside.y; y < inside.bottom(); ++y) {
    for (int x = inside.x; x < inside.right(); ++x) {
      if ((x + y) % 6 < 2) image_.at(x, y) = color;
    }
  }
}

void Canvas::frame(Rect area, Color color, int thickness) {
  const Rect outer{area.x - thickness, area.y - thickness, area.w + 2 * thickness, area.h + 2 * thickness};
  fill({outer.x, outer.y, outer.w, thickness}, color);
  fill({outer.x, area.bottom(), outer.w, thickness}, color);
  fill({outer.x, area.y, thickness, area.h}, color);
  fill({area.right(), area.y, thickness, area.h}, color);
}

void Canvas::polyline(std::span<const Point> points, Color color, double thickness, Rect clip) {
  const int slack = static_cast<int>(thickness) + 1;
  Coverage coverage(intersect({clip.x - slack, clip.y - slack, clip.w + 2 * slack, clip.h + 2 * slack},
                              {0, 0, width(), height()}));
  for (std::size_t i = 1; i < points.size(); ++i) {
    Point a = points[i - 1], b = points[i];
    if (cut(a, b, clip)) coverage.segment(a, b, thickness / 2);
  }
  coverage.paint(*this, color);
}

void Canvas::disc(Point center, double radius, Color color) {
  const int x0 = static_cast<int>(std::floor(center.x - radius - 1));
  const int y0 = static_cast<int>(std::floor(center.y - radius - 1));
  for (int y = y0; y <= center.y + radius + 1; ++y) {
    for (int x = x0; x <= center.x + radius + 1; ++x) {
      const double distance = std::hypot(x + 0.5 - center.x, y + 0.5 - center.y);
      blend(x, y, color, std::clamp(radius + 0.5 - distance, 0.0, 1.0));
    }
  }
}

}  // namespace bobbin::plot::detail
