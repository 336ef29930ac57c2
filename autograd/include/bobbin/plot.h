// Charts as RGB images, saved as PNG files. All functions take plain C++ data, so a chart needs neither a
// tensor nor a window system:
//   save_png(lines(history, {.title = "Loss", .x_label = "epoch"}), "loss.png");
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Charts as PNG files.
namespace bobbin::plot {

/// An sRGB colour, 8 bits per channel.
struct Color {
  std::uint8_t r = 0;  ///< red
  std::uint8_t g = 0;  ///< green
  std::uint8_t b = 0;  ///< blue
  /// Whether all three agree.
  friend bool operator==(const Color&, const Color&) = default;
};

/// A picture of width x height pixels; (0, 0) is the top left.
class Image {
 public:
  /// Throws ValueError unless both sides are in [1, 16384] and the area is at most 2^26 pixels.
  Image(int width, int height, Color fill = {255, 255, 255});

  /// In pixels.
  int width() const { return width_; }
  /// In pixels.
  int height() const { return height_; }

  /// A pixel; throws IndexError outside the picture.
  Color& at(int x, int y);
  /// A pixel; throws IndexError outside the picture.
  const Color& at(int x, int y) const;

  /// All pixels, row by row from the top.
  std::span<Color> pixels() { return pixels_; }
  /// All pixels, row by row from the top.
  std::span<const Color> pixels() const { return pixels_; }

 private:
  std::size_t index(int x, int y) const;

  int width_ = 0, height_ = 0;
  std::vector<Color> pixels_;
};

/// Writes a PNG file as a whole or not at all: writes a temporary file beside `path` and renames it. Throws
/// IoError if it cannot be written, or if `path` is not a regular file.
void save_png(const Image& image, const std::filesystem::path& path);

/// One curve: the points (x[i], y[i]) joined in order.
struct Series {
  std::string name = {};       ///< shown in the legend unless empty
  std::vector<double> x = {};  ///< of the points
  std::vector<double> y = {};  ///< as many as x
};

/// The frame of a chart. Sizes are in pixels; text is ASCII, and any other character shows as '?'.
struct Axes {
  std::string title = {};            ///< above the chart; empty: none
  std::string x_label = {};          ///< below it
  std::string y_label = {};          ///< to its left
  std::optional<double> y_min = {};  ///< low end of the y axis; by default from the data
  std::optional<double> y_max = {};  ///< high end of the y axis
  int width = 900;                   ///< of the whole picture
  int height = 560;                  ///< of the whole picture
};

/// A line chart. A point that is not finite (or beyond 1e300) breaks its curve; a short curve also shows its
/// points as dots. Curves are cut at y_min and y_max.
/// Throws ShapeError if x and y differ in length; ValueError if there is no finite point, if y_min is not
/// below y_max, or if the picture is too small for its texts.
Image lines(std::span<const Series> series, const Axes& axes = {});

/// A bar chart from 0: one bar per name, with its value at the end if it fits. Values that are not finite
/// have no bar. Throws ShapeError if the lengths differ; ValueError as lines() does.
Image bars(std::span<const std::string> names, std::span<const double> values, const Axes& axes = {});

/// How numbers become colours.
enum class ColorMap {
  grey,        ///< black to white
  sequential,  ///< near white to dark blue, in even steps of lightness
  diverging,   ///< blue below zero, near white at zero, red above
};

/// The colour at `t`, from 0 at the low end to 1 at the high end (the middle of `diverging` is 0.5). Values
/// outside are clamped; NaN gives the grey that marks a missing value.
Color map_color(ColorMap map, double t);

/// The colour of curve `index` of a line chart; the ten colours repeat.
Color series_color(std::size_t index);

/// Options of a heat map.
struct HeatMap {
  std::string title = {};                       ///< above the cells; empty: none
  std::string x_label = {};                     ///< below them
  std::string y_label = {};                     ///< to their left
  std::vector<std::string> row_labels = {};     ///< empty, or one per row
  std::vector<std::string> column_labels = {};  ///< empty, or one per column
  bool numbers = false;                         ///< print each value in its cell
  std::optional<int> decimals = {};  ///< of the numbers; by default 0 if all values are integers, else 2
  ColorMap colors = ColorMap::sequential;  ///< the colours of values
  std::optional<double> low = {};          ///< value at the low end of the colours; by default from the data
  std::optional<double> high = {};         ///< value at the high end; by default from the data
  int cell = 0;                            ///< side of a cell in pixels; 0 chooses one
  bool color_bar = true;                   ///< show the scale beside the cells
};

/// A matrix of rows x cols values (row-major) as coloured cells. A diverging map whose ends come from the
/// data is symmetric about 0. Values that are not finite are hatched grey. Throws ShapeError if values or
/// labels do not match rows and cols; ValueError if rows or cols is below 1, low is not below high, decimals
/// is outside [0, 9], or the picture would be too large.
Image heat_map(std::span<const double> values, int rows, int cols, const HeatMap& options = {});

/// One small picture of a grid.
struct Tile {
  std::vector<float> pixels = {};    ///< rows x cols, row-major
  int rows = 0;                      ///< of pixels
  int cols = 0;                      ///< of pixels
  std::string caption = {};          ///< written under the tile
  std::optional<Color> border = {};  ///< a thick frame, to mark mistakes
};

/// A grid of tiles, each pixel drawn as zoom x zoom. Grey and sequential maps take pixels in [0, 1]; the
/// diverging map scales all tiles alike, by their largest magnitude, and shows the scale beside them.
/// Throws ShapeError if pixels.size() is not rows * cols; ValueError if there is no tile, if a size is below
/// 1, or if the picture would be too large.
Image tiles(std::span<const Tile> items, int per_row, int zoom = 3, std::string_view title = {},
            ColorMap colors = ColorMap::grey);

/// Pictures from left to right, centred vertically on white, `gap` pixels apart.
/// Throws ValueError if there is no picture, for a negative gap, or if the result would be too large.
Image beside(const std::vector<Image>& images, int gap = 0);

/// Pictures from top to bottom, centred horizontally; otherwise as beside().
Image below(const std::vector<Image>& images, int gap = 0);

}  // namespace bobbin::plot
