// Title, legend, axes and labels around a plotting area.
#include "autograd/plot/frame.h"

#include <bobbin/error.h>

#include <algorithm>
#include <cmath>

namespace bobbin::plot::detail {
namespace {

constexpr int kGap = 10;         // between a text and the element that it labels
constexpr int kSwatch = 26;      // the coloured dash of a legend entry
constexpr int kEntryGap = 28;    // between legend entries
constexpr int kLegendLine = 26;  // height of a row of legend entries
constexpr int kSmallestArea = 60;

struct PlacedEntry {
  int x = 0, row = 0;
  std::string name;
  Color color;
};

/// Legend entries in rows of at most `room` pixels. They are above the data, so they never cover it.
std::vector<PlacedEntry> place(const std::vector<LegendEntry>& legend, int room) {
  std::vector<PlacedEntry> placed;
  int x = 0, row = 0;
  for (const LegendEntry& entry : legend) {
    const std::string name = fit_text(entry.name, room - kSwatch - kGap);
    const int width = kSwatch + kGap + text_width(name);
    if (x > 0 && x + width > room) {
      x = 0;
      ++row;
    }
    placed.push_back({x, row, name, entry.color});
    x += width + kEntryGap;
  }
  return placed;
}

}  // namespace

Ticks y_axis(const Axes& axes, double low, double high, const char* name) {
  for (const auto& end : {axes.y_min, axes.y_max}) {
    if (end && !(std::abs(*end) <= 1e300)) fail<ValueError>(name, ": y_min and y_max must be finite");
  }
  if (axes.y_min && axes.y_max && !(*axes.y_min < *axes.y_max)) {
    fail<ValueError>(name, ": y_min must be below y_max; got ", *axes.y_min, " and ", *axes.y_max);
  }
  if (low > 0 && low < 0.25 * high) low = 0;
  if (axes.y_min) low = *axes.y_min;
  if (axes.y_max) high = *axes.y_max;
  // If all data are beyond the one end that is fixed, the axis gets a length other than 0.
  const double fixed = axes.y_min ? low : high;
  const double spread = fixed == 0 ? 1 : 0.2 * std::abs(fixed);
  if (axes.y_min && high <= low) high = low + spread;
  if (axes.y_max && high <= low) low = high - spread;
  return make_ticks(
      low, high,
      {.wanted = std::clamp(axes.height / 80, 2, 10), .extend_low = !axes.y_min, .extend_high = !axes.y_max});
}

Frame open_frame(const Axes& axes, Ticks y, const std::vector<LegendEntry>& legend, int foot,
                 const char* name) {
  Frame frame{Canvas(axes.width, axes.height), {}, std::move(y)};
  Canvas& canvas = frame.canvas;

  const int label_room = axes.y_label.empty() ? 0 : kTextHeight + kDescent + kGap;
  const int left = kMargin + label_room + widest(frame.y.labels) + kGap;
  const int width = axes.width - left - kMargin - kGap;
  const std::vector<PlacedEntry> entries = place(legend, width);
  int top = kMargin + (axes.title.empty() ? 0 : kTextHeight + kDescent + kGap);
  const int legend_top = top;
  if (!entries.empty()) top += (entries.back().row + 1) * kLegendLine;
  if (top < kMargin + kGap) top = kMargin + kGap;
  const int x_label_room = axes.x_label.empty() ? 0 : kTextHeight + kGap + kDescent;
  frame.area = {left, top, width, axes.height - top - kMargin - x_label_room - foot};
  if (frame.area.w < kSmallestArea || frame.area.h < kSmallestArea) {
    fail<ValueError>(name, ": a picture of ", axes.width, " x ", axes.height,
                     " pixels is too small for its texts; make it larger");
  }

  const Rect area = frame.area;
  canvas.title(area.x + area.w / 2, axes.title);
  for (const PlacedEntry& entry : entries) {
    const int y0 = legend_top + entry.row * kLegendLine;
    canvas.fill({left + entry.x, y0 + kTextHeight / 2 - 2, kSwatch, 4}, entry.color);
    canvas.text(left + entry.x + kSwatch + kGap, y0, entry.name, kInk);
  }
  for (std::size_t i = 0; i < frame.y.at.size(); ++i) {
    const int row = static_cast<int>(std::lround(frame.to_y(frame.y.at[i])));
    canvas.fill({area.x, row, area.w, 1}, kGrid);
    canvas.text(area.x - kGap, row - kTextHeight / 2, frame.y.labels[i], kMuted, Align::right);
  }
  canvas.text_up(kMargin, area.y + area.h / 2, fit_text(axes.y_label, area.h), kInk);
  canvas.text(area.x + area.w / 2, axes.height - kMargin - kTextHeight, fit_text(axes.x_label, area.w), kInk,
              Align::center);
  return frame;
}

void close_frame(Frame& frame) {
  const Rect area = frame.area;
  frame.canvas.fill({area.x - 1, area.y, 2, area.h + 1}, kFaint);
  frame.canvas.fill({area.x - 1, area.bottom(), area.w + 1, 2}, kFaint);
}

}  // namespace bobbin::plot::detail
