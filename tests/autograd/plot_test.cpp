// Charts and PNG files, pixel by pixel.
#include <bobbin/error.h>
#include <bobbin/plot.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "tests/autograd/plot_pixels.h"
#include "tests/autograd/temporary_directory.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace bobbin::plot {
namespace {

namespace fs = std::filesystem;

struct PlotFiles : tests::TemporaryDirectory {
  std::ptrdiff_t entries(const fs::path& dir) const {
    return std::distance(fs::directory_iterator(dir), fs::directory_iterator());
  }
};

TEST(PlotImage, ChecksItsBounds) {
  Image image(3, 2, {1, 2, 3});
  EXPECT_EQ(image.at(2, 1), (Color{1, 2, 3}));
  EXPECT_THROW(image.at(3, 0), IndexError);
  EXPECT_THROW(image.at(0, -1), IndexError);
  EXPECT_THROW(Image(0, 5), ValueError);
  EXPECT_THROW(Image(16385, 1), ValueError);
  EXPECT_THROW(Image(16384, 16384), ValueError);
}

TEST(PlotImage, ComposesPictures) {
  const Image red(4, 6, {255, 0, 0}), blue(3, 2, {0, 0, 255});
  const Image row = beside({red, blue}, 5);
  EXPECT_EQ(row.width(), 12);
  EXPECT_EQ(row.height(), 6);
  EXPECT_EQ(row.at(3, 5), (Color{255, 0, 0}));
  EXPECT_EQ(row.at(4, 3), kWhite);
  EXPECT_EQ(row.at(9, 1), kWhite);  // the smaller one is centred
  EXPECT_EQ(row.at(9, 2), (Color{0, 0, 255}));
  const Image column = below({red, blue});
  EXPECT_EQ(column.width(), 4);
  EXPECT_EQ(column.height(), 8);
  EXPECT_EQ(column.at(0, 6), (Color{0, 0, 255}));
  EXPECT_THROW(beside({}), ValueError);
  EXPECT_THROW(below({red}, -1), ValueError);
  EXPECT_THROW(beside({Image(10000, 1), Image(10000, 1)}), ValueError);
}

TEST_F(PlotFiles, PngHoldsTheSamePixels) {
  Image image(37, 21);
  for (int y = 0; y < 21; ++y) {
    for (int x = 0; x < 37; ++x) {
      image.at(x, y) = {static_cast<std::uint8_t>(7 * x), static_cast<std::uint8_t>(11 * y),
                        static_cast<std::uint8_t>(x * y)};
    }
  }
  const fs::path path = dir / "picture.png";
  std::ofstream(path) << "an older file";
  save_png(image, path);
  EXPECT_EQ(entries(dir), 1);

  int width = 0, height = 0, channels = 0;
  stbi_uc* read = stbi_load(path.c_str(), &width, &height, &channels, 0);
  ASSERT_NE(read, nullptr) << stbi_failure_reason();
  ASSERT_EQ(width, 37);
  ASSERT_EQ(height, 21);
  ASSERT_EQ(channels, 3);
  for (std::size_t i = 0; i < image.pixels().size(); ++i) {
    ASSERT_EQ((Color{read[3 * i], read[3 * i + 1], read[3 * i + 2]}), image.pixels()[i]) << "pixel " << i;
  }
  stbi_image_free(read);
}

TEST_F(PlotFiles, FailedSaveLeavesNothing) {
  const Image image(4, 4);
  const fs::path missing = dir / "no" / "picture.png";
  expect_error<IoError>([&] { save_png(image, missing); }, missing.string());
  EXPECT_FALSE(fs::exists(dir / "no"));
  fs::create_directory(dir / "taken");
  expect_error<IoError>([&] { save_png(image, dir / "taken"); }, "not a regular file");
  EXPECT_EQ(entries(dir), 1);
  EXPECT_EQ(entries(dir / "taken"), 0);
  save_png(image, "/dev/null");  // what is no regular file is written directly
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  expect_error<IoError>([&] { save_png(image, ""); }, "save_png");
}

TEST_F(PlotFiles, UnwritableDirectoryIsAnIoError) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  fs::permissions(dir, fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_THROW(save_png(Image(4, 4), dir / "picture.png"), IoError);
  fs::permissions(dir, fs::perms::owner_all);
  EXPECT_EQ(entries(dir), 0);
}

TEST(PlotLines, LinePassesWhereItShould) {
  const std::vector<Series> series{{"", {0, 10}, {0, 10}}};
  const Image image = lines(series, {.title = "t", .x_label = "x", .y_label = "y", .y_min = 0, .y_max = 10});
  EXPECT_EQ(image.width(), 900);
  EXPECT_EQ(image.height(), 560);
  const Box area = plot_area(image);
  const double width = area.right - area.left + 1, height = area.bottom - area.top + 1;
  for (const double share : {0.2, 0.5, 0.9}) {
    // The x axis has 3% of room at either end.
    const int x = static_cast<int>(area.left + (0.03 + share) / 1.06 * width);
    const int y = static_cast<int>(area.bottom + 1 - share * height);
    EXPECT_EQ(image.at(x, y), series_color(0)) << share;
    EXPECT_NE(image.at(x, y - 8), series_color(0)) << share;
    EXPECT_NE(image.at(x, y + 8), series_color(0)) << share;
  }
}

TEST(PlotLines, LegendNamesEachCurveAboveTheData) {
  const std::vector<Series> series{{"train", {1, 2}, {1, 2}}, {"test", {1, 2}, {2, 1}}};
  const Image image = lines(series, {.title = "Loss"});
  const int top = plot_area(image).top;
  for (const std::size_t i : {0u, 1u}) {
    const Box swatch = find(image, series_color(i));
    EXPECT_LT(swatch.top, top - 4);
    EXPECT_GE(find_below(image, series_color(i), top).count, 500);
  }
  const std::vector<Series> unnamed{{"", {1, 2}, {1, 2}}};
  const Image plain = lines(unnamed, {});
  EXPECT_GE(find(plain, series_color(0)).top, plot_area(plain).top - 5);
}

TEST(PlotLines, ManyCurvesWrapTheirLegend) {
  std::vector<Series> series;
  for (int i = 0; i < 9; ++i) series.push_back({"a longer name", {0, 1}, {0.0, 1.0 * i}});
  EXPECT_GT(plot_area(lines(series, {})).top, plot_area(lines(std::span(series).first(2), {})).top + 20);
}

TEST(PlotLines, PointsThatAreNotFiniteBreakTheCurve) {
  const std::vector<Series> series{{"", {0, 1, 2, 3, 4, kNan, 5}, {1, 1, kNan, 1, 1, 1, kInf}}};
  const Image image = lines(series, {.y_min = 0, .y_max = 2});
  const Box area = plot_area(image);
  const int row = (area.top + area.bottom + 1) / 2;
  const auto at = [&](double x) {
    return image.at(static_cast<int>(area.left + (0.03 + x / 4) / 1.06 * (area.right - area.left + 1)), row);
  };
  EXPECT_EQ(at(0.5), series_color(0));
  EXPECT_EQ(at(3.5), series_color(0));
  EXPECT_NE(at(1.5), series_color(0));
  EXPECT_NE(at(2.5), series_color(0));
}

TEST(PlotLines, SinglePointIsADot) {
  const std::vector<Series> series{{"", {3}, {7}}};
  const Image image = lines(series, {});
  const Box area = plot_area(image), dot = find(image, series_color(0));
  EXPECT_GE(dot.right - dot.left, 6);
  EXPECT_GE(dot.bottom - dot.top, 6);
  EXPECT_NEAR(dot.x(), 0.5 * (area.left + area.right), 2);
  EXPECT_GT(dot.top, area.top);
  EXPECT_LT(dot.bottom, area.bottom);
}

TEST(PlotLines, CurvesAreCutAtFixedEnds) {
  const std::vector<Series> series{{"", {0, 1, 2, 3}, {-1e300, 1e300, 0.5, 40}}};
  const Image image = lines(series, {.y_min = 0, .y_max = 1});
  const Box area = plot_area(image), curve = find(image, series_color(0));
  EXPECT_GE(curve.top, area.top - 3);
  EXPECT_LE(curve.bottom, area.bottom + 3);
  EXPECT_GT(curve.count, 500);
  const std::vector<Series> outside{{"", {0, 1}, {5, 5}}};
  EXPECT_EQ(find(lines(outside, {.y_min = 0, .y_max = 1}), series_color(0)).count, 0);
}

TEST(PlotLines, SurvivesExtremeData) {
  const double tiny = std::numeric_limits<double>::denorm_min();
  for (const auto& y : std::vector<std::vector<double>>{
           {0, 0}, {1e300, -1e300}, {tiny, 2 * tiny}, {1e15, 1e15 + 1}, {-3e-7, 4e-7}, {1e308, 1}}) {
    const std::vector<Series> series{{"s", {0, 1e9}, y}};
    EXPECT_GT(find(lines(series, {}), series_color(0)).count, 0);
    EXPECT_NO_THROW(lines(series, {.y_min = 2}));
    EXPECT_NO_THROW(lines(series, {.y_max = -2}));
  }
}

TEST(PlotLines, RefusesBadInput) {
  const auto draw = [](std::vector<Series> series, Axes axes = {}) { return lines(series, axes); };
  expect_error<ShapeError>([&] { draw({{"train", {1, 2}, {1}}}); }, "'train' has 2 x values and 1 y values");
  expect_error<ValueError>([&] { draw({}); }, "at least one series");
  expect_error<ValueError>([&] { draw({{"a", {}, {}}}); }, "no series holds a finite point");
  expect_error<ValueError>([&] { draw({{"a", {1}, {kNan}}}); }, "no series holds a finite point");
  expect_error<ValueError>([&] { draw({{"a", {1}, {1}}}, {.y_min = 2, .y_max = 1}); }, "y_min must be below");
  expect_error<ValueError>([&] { draw({{"a", {1}, {1}}}, {.y_max = kInf}); }, "must be finite");
  expect_error<ValueError>([&] { draw({{"a", {1}, {1}}}, {.width = 120, .height = 90}); }, "too small");
  expect_error<ValueError>([&] { draw({{"a", {1}, {1}}}, {.width = -5}); }, "pixels");
}

TEST(PlotBars, HeightsFollowTheValues) {
  const std::vector<std::string> names{"a", "b", "c", "d"};
  const std::vector<double> values{1, 2, kNan, -1};
  const Image image = bars(names, values, {});
  const Box area = plot_area(image);
  const double slot = (area.right - area.left + 1) / 4.0;
  std::vector<int> heights;
  for (int i = 0; i < 4; ++i) {
    const int x = static_cast<int>(area.left + (i + 0.5) * slot);
    int height = 0;
    for (int y = 0; y < image.height(); ++y) height += image.at(x, y) == series_color(0);
    heights.push_back(height);
  }
  EXPECT_GT(heights[0], 50);
  EXPECT_NEAR(heights[1], 2 * heights[0], 2);
  EXPECT_EQ(heights[2], 0);
  EXPECT_NEAR(heights[3], heights[0], 2);
}

TEST(PlotBars, ManyLongNamesStillFit) {
  std::vector<std::string> names(120, "a rather long name for a bar");
  EXPECT_NO_THROW(bars(names, std::vector<double>(120, 3.5), {.title = "t", .x_label = "x"}));
}

TEST(PlotBars, RefusesBadInput) {
  const std::vector<std::string> names{"a", "b"};
  expect_error<ShapeError>([&] { bars(names, std::vector<double>{1}, {}); }, "2 names and 1 values");
  expect_error<ValueError>([&] { bars({}, {}, {}); }, "no value is finite");
  expect_error<ValueError>([&] { bars(names, std::vector<double>{kNan, kInf}, {}); }, "no value is finite");
}

}  // namespace
}  // namespace bobbin::plot
