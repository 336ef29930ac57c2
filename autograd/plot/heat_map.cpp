// Heat maps: one cell per value, with labels, numbers and a colour bar.
#include <bobbin/error.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "autograd/plot/color_bar.h"

namespace bobbin::plot {
namespace {

using namespace detail;

constexpr int kGap = 10;

void check(std::span<const double> values, int rows, int cols, const HeatMap& options) {
  if (rows < 1 || cols < 1) {
    fail<ValueError>("heat_map: rows and cols must be at least 1; got ", rows, " and ", cols);
  }
  if (static_cast<std::int64_t>(values.size()) != std::int64_t{rows} * cols) {
    fail<ShapeError>("heat_map: ", rows, " x ", cols, " cells and ", values.size(), " values");
  }
  const auto labels = [](const std::vector<std::string>& names, int count, const char* what) {
    if (!names.empty() && names.size() != static_cast<std::size_t>(count)) {
      fail<ShapeError>("heat_map: ", names.size(), " ", what, "; needs ", count, " or none");
    }
  };
  labels(options.row_labels, rows, "row labels");
  labels(options.column_labels, cols, "column labels");
  if (options.decimals && (*options.decimals < 0 || *options.decimals > 9)) {
    fail<ValueError>("heat_map: decimals must be in [0, 9]; got ", *options.decimals);
  }
  if (options.cell < 0) fail<ValueError>("heat_map: cell must not be negative; got ", options.cell);
}

ColorScale make_scale(std::span<const double> values, const HeatMap& options) {
  double low = 0, high = 0;
  bool any = false;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    low = any ? std::min(low, value) : value;
    high = any ? std::max(high, value) : value;
    any = true;
  }
  if (options.colors == ColorMap::diverging) {
    high = std::max({std::abs(low), std::abs(high), std::abs(options.low.value_or(0)),
                     std::abs(options.high.value_or(0))});
    low = -high;
  }
  if (options.low) low = *options.low;
  if (options.high) high = *options.high;
  if (options.low && options.high && !(low < high)) {
    fail<ValueError>("heat_map: low must be below high; got ", low, " and ", high);
  }
  if (!std::isfinite(low) || !std::isfinite(high)) fail<ValueError>("heat_map: low and high must be finite");
  low = std::clamp(low, -1e300, 1e300);
  high = std::clamp(high, -1e300, 1e300);
  if (!(low < high)) {
    const double spread = std::max(1.0, std::abs(low) * 0.1);
    (options.high ? low : high) = options.high ? high - spread : low + spread;
  }
  return {options.colors, low, high};
}

std::vector<std::string> format_numbers(std::span<const double> values, const HeatMap& options) {
  const bool whole = std::all_of(values.begin(), values.end(),
                                 [](double v) { return !std::isfinite(v) || v == std::floor(v); });
  const int decimals = options.decimals.value_or(whole ? 0 : 2);
  std::vector<std::string> out;
  for (const double value : values) {
    if (!std::isfinite(value)) {
      out.emplace_back();
    } else if (std::abs(value) < 1e7) {
      // Adding 0 turns -0 into 0.
      out.push_back(fmt::format("{:.{}f}", value + 0.0, decimals));
    } else {
      out.push_back(fmt::format("{:.2e}", value));
    }
  }
  return out;
}

/// Black or white, whichever has more contrast to `ground`.
Color contrasting(Color ground) {
  const double light = 0.2126 * std::pow(ground.r / 255.0, 2.2) + 0.7152 * std::pow(ground.g / 255.0, 2.2) +
                       0.0722 * std::pow(ground.b / 255.0, 2.2);
  return light > 0.22 ? kInk : kWhite;
}

int choose_cell(const HeatMap& options, int rows, int cols, int number_width) {
  if (options.cell > 0) return options.cell;
  const int roomy = std::clamp(480 / std::max(rows, cols), 2, 44);
  return options.numbers ? std::max({roomy, number_width + 14, kTextHeight + 14}) : roomy;
}

/// The positions of all elements, computed from the sizes of all texts.
struct Layout {
  int cell = 0, width = 0, height = 0;
  Rect grid;
  bool upright = false;                   // column labels read upwards
  int row_stride = 1, column_stride = 1;  // every row_stride-th (column_stride-th) label is written
};

Layout arrange(const HeatMap& options, int rows, int cols, int number_width, const ColorScale& scale) {
  Layout at;
  at.cell = choose_cell(options, rows, cols, number_width);
  const std::int64_t wide = std::int64_t{at.cell} * cols, high = std::int64_t{at.cell} * rows;
  if (wide > 16000 || high > 16000) {
    fail<ValueError>("heat_map: ", rows, " x ", cols, " cells of ", at.cell,
                     " pixels are too large a picture");
  }
  at.grid = {kMargin, kMargin, static_cast<int>(wide), static_cast<int>(high)};
  if (!options.title.empty()) at.grid.y += kTextHeight + kDescent + 12;
  if (!options.y_label.empty()) at.grid.x += kTextHeight + kDescent + kGap;
  if (!options.row_labels.empty()) at.grid.x += widest(options.row_labels) + kGap;
  at.row_stride = (kTextHeight + 4 + at.cell - 1) / at.cell;

  const int column_width = widest(options.column_labels);
  at.upright = column_width + 8 > at.cell;
  if (at.upright) at.column_stride = (kTextHeight + 4 + at.cell - 1) / at.cell;
  int bottom = at.grid.bottom();
  if (!options.column_labels.empty()) bottom += kGap + (at.upright ? column_width : kTextHeight);
  if (!options.x_label.empty()) bottom += kGap + kDescent + kTextHeight;
  at.height = bottom + kMargin;
  at.width = at.grid.right() + kMargin;
  if (options.color_bar) at.width += color_bar_width(scale, at.grid.h);

  // A title or label that is longer than the grid widens the picture; the grid stays in the middle.
  const int title = text_width(options.title, Weight::bold) + 2 * kMargin;
  if (title > at.width) {
    at.grid.x += (title - at.width) / 2;
    at.width = title;
  }
  return at;
}

/// The longest text that can be centred on `middle` inside `size` pixels.
int room_around(int middle, int size) { return 2 * std::min(middle, size - middle) - 8; }

void draw_labels(Canvas& canvas, const Layout& at, const HeatMap& options) {
  const Rect grid = at.grid;
  canvas.title(grid.x + grid.w / 2, options.title);
  int edge = grid.x - kGap;
  for (std::size_t i = 0; i < options.row_labels.size(); i += static_cast<std::size_t>(at.row_stride)) {
    const int y = grid.y + static_cast<int>(i) * at.cell + at.cell / 2 - kTextHeight / 2;
    canvas.text(edge, y, options.row_labels[i], kMuted, Align::right);
  }
  if (!options.row_labels.empty()) edge -= widest(options.row_labels) + kGap;
  canvas.text_up(edge - kTextHeight - kDescent, grid.y + grid.h / 2,
                 fit_text(options.y_label, room_around(grid.y + grid.h / 2, canvas.height())), kInk);
  int under = grid.bottom() + kGap;
  for (std::size_t i = 0; i < options.column_labels.size(); i += static_cast<std::size_t>(at.column_stride)) {
    const int x = grid.x + static_cast<int>(i) * at.cell + at.cell / 2;
    if (at.upright) {
      canvas.text_up(x - kTextHeight / 2, under, options.column_labels[i], kMuted, Align::right);
    } else {
      canvas.text(x, under, options.column_labels[i], kMuted, Align::center);
    }
  }
  if (!options.column_labels.empty()) {
    under += kGap + kDescent + (at.upright ? widest(options.column_labels) : kTextHeight);
  }
  canvas.text(grid.x + grid.w / 2, under,
              fit_text(options.x_label, room_around(grid.x + grid.w / 2, canvas.width())), kInk,
              Align::center);
}

}  // namespace

Image heat_map(std::span<const double> values, int rows, int cols, const HeatMap& options) {
  check(values, rows, cols, options);
  const ColorScale scale = make_scale(values, options);
  const std::vector<std::string> numbers =
      options.numbers ? format_numbers(values, options) : std::vector<std::string>();
  const int number_width = widest(numbers);
  const Layout at = arrange(options, rows, cols, number_width, scale);

  Canvas canvas(at.width, at.height);
  const int seam = at.cell >= 12 ? 1 : 0;  // a white line between cells
  const bool fits = number_width + 2 <= at.cell && kTextHeight + 2 <= at.cell;
  for (int row = 0; row < rows; ++row) {
    for (int col = 0; col < cols; ++col) {
      const auto i =
          static_cast<std::size_t>(row) * static_cast<std::size_t>(cols) + static_cast<std::size_t>(col);
      const Rect cell{at.grid.x + col * at.cell, at.grid.y + row * at.cell, at.cell - seam, at.cell - seam};
      const Color color = scale.color(values[i]);
      canvas.fill(cell, color);
      if (!std::isfinite(values[i])) canvas.hatch(cell, kFaint);
      if (!options.numbers || !fits) continue;
      // Zeros are pale, so that the other numbers of a sparse table stand out.
      const bool pale = values[i] == 0 && contrasting(color) == kInk;
      canvas.text(cell.x + cell.w / 2, cell.y + (cell.h - kTextHeight) / 2, numbers[i],
                  pale ? kFaint : contrasting(color), Align::center);
    }
  }
  canvas.frame({at.grid.x, at.grid.y, at.grid.w - seam, at.grid.h - seam}, kFaint, 1);
  draw_labels(canvas, at, options);
  if (options.color_bar) draw_color_bar(canvas, at.grid.right(), at.grid.y, at.grid.h, scale);
  return std::move(canvas).take();
}

}  // namespace bobbin::plot
