// Bar charts.
#include <bobbin/error.h>

#include <algorithm>
#include <cmath>

#include "autograd/plot/frame.h"

namespace bobbin::plot {
namespace {

using namespace detail;

constexpr int kLabelGap = 6;  // between a bar and the number at its end

bool usable(double value) { return std::abs(value) <= 1e300; }

Ticks value_axis(std::span<const double> values, const Axes& axes) {
  double low = 0, high = 0;
  bool any = false;
  for (const double value : values) {
    if (!usable(value)) continue;
    any = true;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  if (!any) fail<ValueError>("bars: no value is finite");
  if (low == high) high = 1;
  // Space for the numbers beyond the ends of the bars.
  const double spare = (high - low) * 2 * (kTextHeight + kLabelGap) / std::max(axes.height, 1);
  return y_axis(axes, low < 0 ? low - spare : low, high > 0 ? high + spare : high, "bars");
}

}  // namespace

Image bars(std::span<const std::string> names, std::span<const double> values, const Axes& axes) {
  if (names.size() != values.size()) {
    fail<ShapeError>("bars: ", names.size(), " names and ", values.size(), " values; needs as many of each");
  }
  const Ticks y = value_axis(values, axes);
  const auto count = static_cast<int>(std::min<std::size_t>(values.size(), 16384));

  // Names that are too wide for their slots are rotated: they read upwards.
  const int around = 3 * kMargin + widest(y.labels) + (axes.y_label.empty() ? 0 : kMargin);
  const int slot_guess = (axes.width - around) / count;
  const int name_width = widest(names);
  const bool upright = name_width + 12 > slot_guess;
  const int name_room = upright ? std::min(name_width, axes.height / 3) : kTextHeight + kDescent;
  Frame frame = open_frame(axes, y, {}, name_room + 10, "bars");
  const Rect area = frame.area;
  const double slot = static_cast<double>(area.w) / count;
  const int thick = std::max(1, static_cast<int>(slot * 0.68));

  std::vector<std::string> numbers;
  for (const double value : values) numbers.push_back(usable(value) ? short_number(value) : "");
  const bool show_numbers = widest(numbers) + 8 <= slot;
  // If slots are narrower than a line of text, only every name_stride-th name is written.
  const int name_stride = static_cast<int>(std::ceil((kTextHeight + 2) / slot));
  const double zero = std::clamp(frame.to_y(0), double(area.y), double(area.bottom()));
  for (int i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const int middle = area.x + static_cast<int>(std::lround((i + 0.5) * slot));
    if (upright) {
      if (i % name_stride == 0) {
        frame.canvas.text_up(middle - kTextHeight / 2, area.bottom() + 10, fit_text(names[at], name_room),
                             kMuted, Align::right);
      }
    } else {
      frame.canvas.text(middle, area.bottom() + 10, names[at], kMuted, Align::center);
    }
    if (!usable(values[at])) continue;
    const double end = std::clamp(frame.to_y(values[at]), double(area.y), double(area.bottom()));
    const int top = static_cast<int>(std::lround(std::min(zero, end)));
    const int bottom = static_cast<int>(std::lround(std::max(zero, end)));
    frame.canvas.fill({middle - thick / 2, top, thick, bottom - top}, series_color(0));
    if (show_numbers) {
      const int above = std::max(area.y + kLabelGap, top - kLabelGap - kTextHeight);
      const int under = std::min(area.bottom() - kTextHeight - kLabelGap, bottom + kLabelGap);
      const int line = values[at] < 0 ? under : above, width = text_width(numbers[at]);
      frame.canvas.fill({middle - width / 2 - 3, line - 3, width + 6, kTextHeight + 6}, kWhite);
      frame.canvas.text(middle, line, numbers[at], kInk, Align::center);
    }
  }
  if (y.low < 0 && y.high > 0) {
    frame.canvas.fill({area.x, static_cast<int>(std::lround(zero)), area.w, 1}, kMuted);
  }
  close_frame(frame);
  return std::move(frame.canvas).take();
}

}  // namespace bobbin::plot
