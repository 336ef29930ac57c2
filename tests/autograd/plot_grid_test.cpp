// Heat maps and tiles, pixel by pixel.
#include <bobbin/error.h>
#include <bobbin/plot.h>
#include <gtest/gtest.h>

#include "tests/autograd/plot_pixels.h"

namespace bobbin::plot {
namespace {

TEST(PlotColors, MapsAreOrdered) {
  int last = brightness(map_color(ColorMap::sequential, 0));
  EXPECT_GT(last, 720);
  for (int i = 1; i <= 20; ++i) {
    const int now = brightness(map_color(ColorMap::sequential, i / 20.0));
    EXPECT_LT(now, last) << i;
    last = now;
  }
  const Color low = map_color(ColorMap::diverging, 0.2), high = map_color(ColorMap::diverging, 0.8);
  EXPECT_GT(low.b, low.r + 40);
  EXPECT_GT(high.r, high.b + 40);
  EXPECT_GT(brightness(map_color(ColorMap::diverging, 0.5)), 720);
  EXPECT_EQ(map_color(ColorMap::grey, 2), kWhite);
  EXPECT_EQ(map_color(ColorMap::sequential, kNan), (Color{200, 200, 200}));
  EXPECT_EQ(series_color(0), series_color(10));
}

/// Cells of 20 pixels without any text begin at the margin of 20.
Color cell(const Image& image, int row, int col) { return image.at(20 + 20 * col + 3, 20 + 20 * row + 3); }

TEST(PlotHeatMap, BiggerValueIsDarker) {
  const Image image = heat_map(std::vector<double>{0, 1, 2, 3, 4, 5}, 2, 3, {.cell = 20, .color_bar = false});
  EXPECT_EQ(image.width(), 100);
  EXPECT_EQ(image.height(), 80);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(cell(image, i / 3, i % 3), map_color(ColorMap::sequential, i / 5.0)) << i;
    if (i > 0) {
      EXPECT_LT(brightness(cell(image, i / 3, i % 3)), brightness(cell(image, (i - 1) / 3, (i - 1) % 3)));
    }
  }
}

TEST(PlotHeatMap, DivergingIsSymmetricAndFixedEndsClamp) {
  const std::vector<double> values{-1, 0, 4};
  const Image image = heat_map(values, 1, 3, {.colors = ColorMap::diverging, .cell = 20, .color_bar = false});
  EXPECT_EQ(cell(image, 0, 0), map_color(ColorMap::diverging, 0.375));
  EXPECT_EQ(cell(image, 0, 1), map_color(ColorMap::diverging, 0.5));
  EXPECT_EQ(cell(image, 0, 2), map_color(ColorMap::diverging, 1));
  const Image fixed = heat_map(values, 1, 3, {.low = 0, .high = 2, .cell = 20, .color_bar = false});
  EXPECT_EQ(cell(fixed, 0, 0), map_color(ColorMap::sequential, 0));
  EXPECT_EQ(cell(fixed, 0, 2), map_color(ColorMap::sequential, 1));
}

TEST(PlotHeatMap, MissingValuesAreHatchedGrey) {
  const Image image = heat_map(std::vector<double>{0, kNan, 1}, 1, 3, {.cell = 20, .color_bar = false});
  const Box ground = find(image, {200, 200, 200});
  EXPECT_GE(ground.left, 40);
  EXPECT_LT(ground.right, 60);
  EXPECT_GT(ground.count, 150);
  EXPECT_LT(ground.count, 19 * 19);  // the rest is stripes
}

TEST(PlotHeatMap, NumbersContrastWithTheirCells) {
  const Image image = heat_map(std::vector<double>{10, 980}, 1, 2, {.numbers = true, .color_bar = false});
  const int middle = image.width() / 2;
  int dark_on_light = 0, light_on_dark = 0;
  for (int y = 24; y < image.height() - 24; ++y) {
    for (int x = 24; x < middle; ++x) dark_on_light += image.at(x, y) == Color{33, 37, 41};
    for (int x = middle; x < image.width() - 24; ++x) light_on_dark += image.at(x, y) == kWhite;
  }
  EXPECT_GT(dark_on_light, 40);
  EXPECT_GT(light_on_dark, 60);
}

TEST(PlotHeatMap, SurvivesExtremeData) {
  for (const auto& values : std::vector<std::vector<double>>{
           {kNan, kNan}, {5, 5}, {1e308, -1e308}, {1e305, 1e306}, {kInf, 1}, {-0.0, 0.0}}) {
    for (const ColorMap colors : {ColorMap::sequential, ColorMap::diverging}) {
      EXPECT_NO_THROW(heat_map(values, 1, 2, {.numbers = true, .colors = colors}));
    }
  }
  EXPECT_NO_THROW(heat_map(std::vector<double>{5, 6}, 1, 2, {.high = 3}));
  EXPECT_NO_THROW(heat_map(std::vector<double>(400 * 900), 400, 900, {}));
}

TEST(PlotHeatMap, RefusesBadInput) {
  const std::vector<double> six(6);
  expect_error<ShapeError>([&] { heat_map(six, 2, 2); }, "2 x 2 cells and 6 values");
  expect_error<ShapeError>([&] { heat_map(six, 2, 3, {.row_labels = {"a"}}); }, "1 row labels; needs 2");
  expect_error<ShapeError>([&] { heat_map(six, 2, 3, {.column_labels = {"a", "b"}}); }, "column labels");
  expect_error<ValueError>([&] { heat_map({}, 0, 3); }, "at least 1");
  expect_error<ValueError>([&] { heat_map(six, 2, 3, {.low = 1, .high = 1}); }, "low must be below high");
  expect_error<ValueError>([&] { heat_map(six, 2, 3, {.low = kNan}); }, "finite");
  expect_error<ValueError>([&] { heat_map(six, 2, 3, {.decimals = 10}); }, "decimals");
  expect_error<ValueError>([&] { heat_map(six, 2, 3, {.cell = 100000}); }, "too large");
}

TEST(PlotTiles, DrawsPixelsZoomedInsideBorders) {
  const Color red{210, 30, 40};
  const std::vector<Tile> items{{{0, 1, 0.5f, 0}, 2, 2, "7", {}}, {{1, 1, 1, 1}, 2, 2, "4 not 9", red}};
  const Image image = tiles(items, 2, 10);
  const Box frame = find(image, red);
  EXPECT_EQ(frame.right - frame.left + 1, 2 * 10 + 2 * 4);
  EXPECT_EQ(frame.bottom - frame.top + 1, 2 * 10 + 2 * 4);
  EXPECT_EQ(frame.count, 28 * 28 - 20 * 20);
  EXPECT_EQ(image.at(static_cast<int>(frame.x()), static_cast<int>(frame.y())), kWhite);
  // The first tile has one pixel of 0.5 and two of 0.
  EXPECT_EQ(find(image, {128, 128, 128}).count, 100);
  EXPECT_EQ(find(image, {0, 0, 0}).count, 200);
  // Both captions stand below the frame.
  EXPECT_GT(find_below(image, {33, 37, 41}, frame.bottom + 1).count, 60);
}

TEST(PlotTiles, BreaksRowsAndKeepsColumnsApart) {
  const std::vector<Tile> items(5, Tile{{0}, 1, 1, "", {}});
  const Image two_rows = tiles(items, 3, 12), one_row = tiles(items, 9, 12);
  EXPECT_GT(two_rows.height(), one_row.height());
  EXPECT_LT(two_rows.width(), one_row.width());
  EXPECT_EQ(find(two_rows, {0, 0, 0}).count, 5 * 144);
  EXPECT_EQ(find(one_row, {0, 0, 0}).count, 5 * 144);
}

TEST(PlotTiles, DivergingTilesShareOneScale) {
  const std::vector<Tile> items{{{-2, 0}, 1, 2, "", {}}, {{1, std::nanf("")}, 1, 2, "", {}}};
  const Image image = tiles(items, 2, 8, "filters", ColorMap::diverging);
  EXPECT_GE(find(image, map_color(ColorMap::diverging, 0)).count, 64);
  EXPECT_GE(find(image, map_color(ColorMap::diverging, 0.5)).count, 64);
  EXPECT_GE(find(image, map_color(ColorMap::diverging, 0.75)).count, 64);
  EXPECT_EQ(find(image, {200, 200, 200}).count, 64);
}

TEST(PlotTiles, RefusesBadInput) {
  const std::vector<Tile> good{{{0}, 1, 1, "", {}}}, bad{{{0, 1, 2}, 2, 2, "", {}}}, none{{{}, 0, 4, "", {}}};
  expect_error<ShapeError>([&] { tiles(bad, 1); }, "tile 0 is 2 x 2 and holds 3 pixels");
  expect_error<ValueError>([&] { tiles(none, 1); }, "0 rows and 4 cols");
  expect_error<ValueError>([&] { tiles({}, 1); }, "at least one tile");
  expect_error<ValueError>([&] { tiles(good, 0); }, "per_row");
  expect_error<ValueError>([&] { tiles(good, 1, 0); }, "zoom");
  expect_error<ValueError>([&] { tiles(good, 1, 2000000000); }, "too large");
}

TEST(PlotText, ShowsAnyBytesAndTellsTextsApart) {
  const std::vector<Series> series{{"\xC3\xA9t\xC3\xA9 \x01\xFF", {1, 2}, {1, 2}}};
  EXPECT_NO_THROW(lines(series, {.title = std::string(400, 'W'), .y_label = std::string(400, 'W')}));
  const auto titled = [](const char* title) {
    return heat_map(std::vector<double>{1}, 1, 1, {.title = title, .color_bar = false});
  };
  EXPECT_TRUE(same(titled("loss 4"), titled("loss 4")));
  EXPECT_FALSE(same(titled("loss 4"), titled("loss 9")));
  EXPECT_FALSE(same(titled("a"), titled("o")));
}

}  // namespace
}  // namespace bobbin::plot
