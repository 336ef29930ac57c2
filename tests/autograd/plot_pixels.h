// Finds shapes and colours in a picture, for the tests of the plot library.
#pragma once
#include <bobbin/plot.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>

namespace bobbin::plot {

inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
inline constexpr double kInf = std::numeric_limits<double>::infinity();
inline constexpr Color kWhite{255, 255, 255}, kAxis{160, 166, 172};

/// The smallest box around all pixels of one colour; right and bottom are inclusive.
struct Box {
  int left = 1 << 20, top = 1 << 20, right = -1, bottom = -1, count = 0;
  double x() const { return 0.5 * (left + right); }
  double y() const { return 0.5 * (top + bottom); }
};

inline Box find(const Image& image, Color color) {
  Box box;
  for (int y = 0; y < image.height(); ++y) {
    for (int x = 0; x < image.width(); ++x) {
      if (image.at(x, y) != color) continue;
      box = {std::min(box.left, x), std::min(box.top, y), std::max(box.right, x), std::max(box.bottom, y),
             box.count + 1};
    }
  }
  return box;
}

/// The box of a colour from row `top` on, which leaves the legend out.
inline Box find_below(const Image& image, Color color, int top) {
  Image rest(image.width(), image.height() - top);
  for (int y = top; y < image.height(); ++y) {
    for (int x = 0; x < image.width(); ++x) rest.at(x, y - top) = image.at(x, y);
  }
  Box box = find(rest, color);
  box.top += top;
  box.bottom += top;
  return box;
}

/// The plotting area of a chart, from its axis lines.
inline Box plot_area(const Image& image) {
  Box axes = find(image, kAxis);
  axes.left += 1;
  axes.bottom -= 2;
  return axes;
}

inline bool same(const Image& a, const Image& b) {
  return a.width() == b.width() && a.height() == b.height() &&
         std::equal(a.pixels().begin(), a.pixels().end(), b.pixels().begin());
}

inline int brightness(Color c) { return c.r + c.g + c.b; }

/// Expects E with a message of one line that contains `part`.
template<class E, class Action>
void expect_error(Action action, const std::string& part) {
  try {
    action();
    ADD_FAILURE() << "accepted; expected a message with: " << part;
  } catch (const E& error) {
    EXPECT_THAT(error.what(),
                testing::AllOf(testing::HasSubstr(part), testing::Not(testing::HasSubstr("\n"))));
  }
}

}  // namespace bobbin::plot
