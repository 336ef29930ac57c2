// Draws filled shapes, anti-aliased lines and text on an Image. Internal to the plot library.
#pragma once
#include <bobbin/plot.h>

#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace bobbin::plot::detail {

struct Point {
  double x = 0, y = 0;
};

/// Pixels x <= px < x + w and y <= py < y + h.
struct Rect {
  int x = 0, y = 0, w = 0, h = 0;
  int right() const { return x + w; }
  int bottom() const { return y + h; }
};

inline constexpr Color kWhite{255, 255, 255};
inline constexpr Color kInk{33, 37, 41};         // titles, numbers
inline constexpr Color kMuted{84, 91, 99};       // tick labels, captions
inline constexpr Color kFaint{160, 166, 172};    // frames, zeros
inline constexpr Color kGrid{230, 232, 235};     // grid lines
inline constexpr Color kMissing{200, 200, 200};  // values that are not numbers

inline constexpr int kMargin = 20;      // white space at the edge of every picture
inline constexpr int kTextHeight = 14;  // capitals and digits
inline constexpr int kDescent = 4;      // tails of g, p, y and the comma

enum class Align { left, center, right };
enum class Weight { normal, bold };

/// Width in pixels of one line of text.
int text_width(std::string_view text, Weight weight = Weight::normal);

/// Width of the widest of `texts`; 0 without any.
int widest(std::span<const std::string> texts);

/// `text`; if it is wider than `room` pixels, it is cut and ends with "..".
std::string fit_text(std::string_view text, int room, Weight weight = Weight::normal);

class Canvas {
 public:
  Canvas(int width, int height) : image_(width, height) {}

  int width() const { return image_.width(); }
  int height() const { return image_.height(); }

  /// Mixes `color` into one pixel; pixels outside the picture are ignored here and below.
  void blend(int x, int y, Color color, double coverage);
  void fill(Rect area, Color color);
  /// Diagonal stripes over `area`.
  void hatch(Rect area, Color color);
  /// A frame of `thickness` pixels just outside `area`.
  void frame(Rect area, Color color, int thickness);
  /// Joins `points` by lines, and draws the parts inside `clip`.
  void polyline(std::span<const Point> points, Color color, double thickness, Rect clip);
  void disc(Point center, double radius, Color color);

  /// One line of text; `y` is the top of its capitals, and `x` its left edge, middle or right edge (`align`).
  void text(int x, int y, std::string_view text, Color color, Align align = Align::left,
            Weight weight = Weight::normal);
  /// The title at the top of the picture, centred on `middle` or as near to it as the margins allow.
  void title(int middle, std::string_view text);
  /// One line of text that reads upwards; `x` is the left edge of its capitals. Align::right ends the text at
  /// `y`, Align::left begins it there.
  void text_up(int x, int y, std::string_view text, Color color, Align align = Align::center);

  Image take() && { return std::move(image_); }

 private:
  Image image_;
};

}  // namespace bobbin::plot::detail
