// Small grey or coloured pictures in rows, with captions.
#include <bobbin/error.h>

#include <algorithm>
#include <cmath>

#include "autograd/plot/color_bar.h"

namespace bobbin::plot {
namespace {

using namespace detail;

constexpr int kBorder = 4;      // thickness of a coloured frame
constexpr int kCaptionGap = 6;  // from the frame to the caption
constexpr int kColumnGap = 20, kRowGap = 16;

void check(std::span<const Tile> items, int per_row, int zoom) {
  if (items.empty()) fail<ValueError>("tiles: needs at least one tile");
  if (per_row < 1 || zoom < 1) {
    fail<ValueError>("tiles: per_row and zoom must be at least 1; got ", per_row, " and ", zoom);
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Tile& tile = items[i];
    if (tile.rows < 1 || tile.cols < 1) {
      fail<ValueError>("tiles: tile ", i, " has ", tile.rows, " rows and ", tile.cols,
                       " cols; needs 1 of each");
    }
    if (static_cast<std::int64_t>(tile.pixels.size()) != std::int64_t{tile.rows} * tile.cols) {
      fail<ShapeError>("tiles: tile ", i, " is ", tile.rows, " x ", tile.cols, " and holds ",
                       tile.pixels.size(), " pixels");
    }
  }
}

ColorScale make_scale(std::span<const Tile> items, ColorMap colors) {
  if (colors != ColorMap::diverging) return {colors, 0, 1};
  double largest = 0;
  for (const Tile& tile : items) {
    for (const float pixel : tile.pixels) {
      if (std::isfinite(pixel)) largest = std::max(largest, std::abs(double{pixel}));
    }
  }
  if (largest == 0) largest = 1;
  return {colors, -largest, largest};
}

/// All slots are alike; the largest tile and the widest caption decide their size.
struct Grid {
  int tile_w = 0, tile_h = 0, slot_w = 0, slot_h = 0, columns = 0, rows = 0;
};

Grid arrange(std::span<const Tile> items, int per_row, int zoom) {
  std::int64_t w = 0, h = 0;
  int caption = 0;
  for (const Tile& tile : items) {
    w = std::max(w, std::int64_t{tile.cols} * zoom);
    h = std::max(h, std::int64_t{tile.rows} * zoom);
    caption = std::max(caption, text_width(tile.caption));
  }
  const auto count = static_cast<std::int64_t>(items.size());
  const std::int64_t columns = std::min<std::int64_t>(per_row, count), rows = (count + columns - 1) / columns;
  const std::int64_t slot_w = std::max<std::int64_t>(w + 2 * kBorder, caption);
  const std::int64_t slot_h = h + 2 * kBorder + (caption > 0 ? kCaptionGap + kTextHeight + kDescent : 0);
  if (slot_w + kColumnGap > 16000 / columns || slot_h + kRowGap > 16000 / rows) {
    fail<ValueError>("tiles: ", count, " tiles of ", w, " x ", h, " pixels are too large a picture");
  }
  return {static_cast<int>(w),      static_cast<int>(h),       static_cast<int>(slot_w),
          static_cast<int>(slot_h), static_cast<int>(columns), static_cast<int>(rows)};
}

void draw_tile(Canvas& canvas, const Tile& tile, Rect slot, const Grid& grid, int zoom,
               const ColorScale& scale) {
  const Rect area{slot.x + (slot.w - tile.cols * zoom) / 2,
                  slot.y + kBorder + (grid.tile_h - tile.rows * zoom) / 2, tile.cols * zoom,
                  tile.rows * zoom};
  for (int row = 0; row < tile.rows; ++row) {
    for (int col = 0; col < tile.cols; ++col) {
      const auto i =
          static_cast<std::size_t>(row) * static_cast<std::size_t>(tile.cols) + static_cast<std::size_t>(col);
      canvas.fill({area.x + col * zoom, area.y + row * zoom, zoom, zoom},
                  scale.color(double{tile.pixels[i]}));
    }
  }
  if (tile.border) {
    canvas.frame(area, *tile.border, kBorder);
  } else {
    canvas.frame(area, kFaint, 1);
  }
  canvas.text(slot.x + slot.w / 2, slot.y + grid.tile_h + 2 * kBorder + kCaptionGap, tile.caption, kInk,
              Align::center);
}

}  // namespace

Image tiles(std::span<const Tile> items, int per_row, int zoom, std::string_view title, ColorMap colors) {
  check(items, per_row, zoom);
  const Grid grid = arrange(items, per_row, zoom);
  const ColorScale scale = make_scale(items, colors);
  const int inner_w = grid.columns * (grid.slot_w + kColumnGap) - kColumnGap;
  const int inner_h = grid.rows * (grid.slot_h + kRowGap) - kRowGap;
  const bool key = colors == ColorMap::diverging;
  const int content_w = inner_w + (key ? color_bar_width(scale, inner_h) : 0);
  const int width = std::max(content_w, text_width(title, Weight::bold)) + 2 * kMargin;
  const int top = kMargin + (title.empty() ? 0 : kTextHeight + kDescent + 14);
  Canvas canvas(width, top + inner_h + kMargin);
  canvas.title(width / 2, title);
  const int left = (width - content_w) / 2;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const int row = static_cast<int>(i) / grid.columns, col = static_cast<int>(i) % grid.columns;
    draw_tile(canvas, items[i],
              {left + col * (grid.slot_w + kColumnGap), top + row * (grid.slot_h + kRowGap), grid.slot_w,
               grid.slot_h},
              grid, zoom, scale);
  }
  if (key) draw_color_bar(canvas, left + inner_w, top, inner_h, scale);
  return std::move(canvas).take();
}

}  // namespace bobbin::plot
