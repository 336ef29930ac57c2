// Charts drawn into RGB images and saved as PNG. Everything here takes plain C++ data, so a picture needs
// neither a tensor nor a window system:
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

/// An sRGB colour, 8 bits a channel.
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

/// Writes a PNG. The file appears whole or not at all: it is written beside `path`, then renamed over it.
/// Throws IoError when it cannot be written, or when `path` is something other than a regular file.
void save_png(const Image& image, const std::filesystem::path& path);

/// One curve: the points (x[i], y[i]) joined in order.
struct Series {
  std::string name = {};       ///< shown in the legend unless empty
  std::vector<double> x = {};  ///< of the points
  std::vector<double> y = {};  ///< as many
};

/// The frame of a chart. Sizes are in pixels; text is ASCII, and any other character shows as '?'.
struct Axes {
  std::string title = {};            ///< above the chart; empty: none
  std::string x_label = {};          ///< below it
  std::string y_label = {};          ///< to its left
  std::optional<double> y_min = {};  ///< low end of the y axis; left out: from the data
  std::optional<double> y_max = {};  ///< its high end
  int width = 900;                   ///< of the whole picture
  int height = 560;                  ///< of the whole picture
};

/// A line chart. A point that is not finite (or beyond 1e300) breaks its curve; a short curve also shows its
/// points as dots. Curves are cut at y_min and y_max.
/// Throws ShapeError when x and y differ in length; ValueError without any finite point, when y_min is not
/// below y_max, or when the picture is too small for its texts.
Image lines(std::span<const Series> series, const Axes& axes = {});

/// A bar chart from 0, one bar a name, its value written at its end where there is room. Values that are not
/// finite have no bar. Throws ShapeError when the lengths differ; ValueError as lines() does.
Image bars(std::span<const std::string> names, std::span<const double> values, const Axes& axes = {});

/// How numbers become colours.
enum class ColorMap {
  grey,        ///< black to white
  sequential,  ///< near white to dark blue, in even steps of lightness
  diverging,   ///< blue below zero, near white at zero, red above
};

/// The colour at `t`: in [0, 1] from the low end to the high one (diverging has its middle at 0.5). Values
/// outside are clamped; NaN gives the grey that marks a missing value.
Color map_color(ColorMap map, double t);

/// The colour that curve `index` of a line chart gets; the ten colours repeat.
Color series_color(std::size_t index);

/// What a heat map shows around its cells.
struct HeatMap {
  std::string title = {};                       ///< above the cells; empty: none
  std::string x_label = {};                     ///< below them
  std::string y_label = {};                     ///< to their left
  std::vector<std::string> row_labels = {};     ///< empty, or one a row
  std::vector<std::string> column_labels = {};  ///< empty, or one a column
  bool numbers = false;                         ///< print each value in its cell
  std::optional<int> decimals = {};        ///< of the numbers; left out: 0 when all values are whole, else 2
  ColorMap colors = ColorMap::sequential;  ///< what values look like
  std::optional<double> low = {};          ///< value at the low end of the colours; left out: from the data
  std::optional<double> high = {};         ///< value at their high end
  int cell = 0;                            ///< side of a cell in pixels; 0 chooses one
  bool color_bar = true;                   ///< show the scale beside the cells
};

/// A matrix of rows x cols values (row by row) as coloured cells. Left to the data, a diverging map is
/// symmetric about 0. Values that are not finite are hatched grey.
/// Throws ShapeError when values or labels do not match rows and cols; ValueError when rows or cols is below
/// 1, low is not below high, decimals is outside [0, 9], or the picture would be too large.
Image heat_map(std::span<const double> values, int rows, int cols, const HeatMap& options = {});

/// One small picture of a grid.
struct Tile {
  std::vector<float> pixels = {};    ///< rows x cols, row by row
  int rows = 0;                      ///< of pixels
  int cols = 0;                      ///< of pixels
  std::string caption = {};          ///< written under the tile
  std::optional<Color> border = {};  ///< a thick frame, to mark mistakes
};

/// A grid of tiles, each pixel drawn as zoom x zoom. Grey and sequential maps take pixels in [0, 1]; the
/// diverging one scales all tiles alike, by their largest magnitude, and shows the scale beside them.
/// Throws ShapeError when pixels.size() is not rows * cols; ValueError without tiles, when a size is below 1,
/// or when the picture would be too large.
Image tiles(std::span<const Tile> items, int per_row, int zoom = 3, std::string_view title = {},
            ColorMap colors = ColorMap::grey);

/// Pictures from left to right, centred vertically on white, `gap` pixels apart.
/// Throws ValueError without pictures, for a negative gap, or when the result would be too large.
Image beside(const std::vector<Image>& images, int gap = 0);

/// Pictures from top to bottom, centred horizontally; otherwise as beside().
Image below(const std::vector<Image>& images, int gap = 0);

}  // namespace bobbin::plot
