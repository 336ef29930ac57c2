// Text from the bitmap font of stb_easy_font, doubled in size with its diagonals smoothed.
#include <algorithm>

#include "autograd/plot/canvas.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_easy_font.h>
#pragma GCC diagnostic pop

namespace bobbin::plot::detail {
namespace {

/// How much of each pixel is ink, in 0..255; outside is none.
struct Mask {
  int width = 0, height = 0;
  std::vector<std::uint8_t> ink;

  Mask(int w, int h) : width(w), height(h), ink(static_cast<std::size_t>(w) * static_cast<std::size_t>(h)) {}
  std::size_t index(int x, int y) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x);
  }
  std::uint8_t get(int x, int y) const {
    return x < 0 || y < 0 || x >= width || y >= height ? std::uint8_t{0} : ink[index(x, y)];
  }
};

/// What to draw for `text`. The font knows printable ASCII only; every other character (not byte) of UTF-8
/// becomes '?'.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0) == 0x80) continue;
    if (c == '0') {
      out += 'O';  // the font's zero is crossed, which clutters numbers; its O looks like a plain zero
    } else {
      out += c >= ' ' && c <= '~' ? c : '?';
    }
  }
  return out;
}

/// The text at the font's own size: capitals 7 pixels high, tails 2 below.
Mask draw_small(std::string text) {
  constexpr std::size_t kQuadBytes = 64, kMaxQuadsPerChar = 24;
  Mask mask(stb_easy_font_width(text.data()) + 1, 9);
  std::vector<float> buffer((text.size() + 1) * kMaxQuadsPerChar * kQuadBytes / sizeof(float));
  const int quads = stb_easy_font_print(0, 0, text.data(), nullptr, buffer.data(),
                                        static_cast<int>(buffer.size() * sizeof(float)));
  for (int quad = 0; quad < quads; ++quad) {
    // A vertex is x, y, z and a colour of 4 bytes; vertices 0 and 2 are opposite corners.
    const float* corner = buffer.data() + static_cast<std::size_t>(quad) * kQuadBytes / sizeof(float);
    for (int y = static_cast<int>(corner[1]); y < static_cast<int>(corner[9]); ++y) {
      for (int x = static_cast<int>(corner[0]); x < static_cast<int>(corner[8]); ++x) {
        if (x >= 0 && y >= 0 && x < mask.width && y < mask.height) mask.ink[mask.index(x, y)] = 255;
      }
    }
  }
  return mask;
}

/// Doubles a black and white mask and fills the notches of its diagonals. Square corners stay square: they
/// are what tells an 'a' from an 'o' and a 'D' from an 'O' in this font.
Mask smooth_twice(const Mask& small) {
  Mask big(small.width * 2, small.height * 2);
  for (int y = 0; y < big.height; ++y) {
    for (int x = 0; x < big.width; ++x) {
      const int from_x = x / 2, from_y = y / 2;
      const int beside = from_x + (x % 2 == 0 ? -1 : 1), above = from_y + (y % 2 == 0 ? -1 : 1);
      const bool notch =
          small.get(beside, from_y) != 0 && small.get(from_x, above) != 0 && small.get(beside, above) == 0;
      big.ink[big.index(x, y)] = notch ? std::uint8_t{255} : small.get(from_x, from_y);
    }
  }
  return big;
}

/// The text at twice the font's size. It is drawn at four times and averaged: strokes stay sharp because
/// they lie on the pixel grid, and only diagonals have grey edges.
Mask draw_text(std::string_view text, Weight weight) {
  const Mask fine = smooth_twice(smooth_twice(draw_small(printable(text))));
  Mask mask(fine.width / 2 + 1, fine.height / 2);
  for (int y = 0; y < mask.height; ++y) {
    for (int x = 0; x < fine.width / 2; ++x) {
      const int sum = fine.get(2 * x, 2 * y) + fine.get(2 * x + 1, 2 * y) + fine.get(2 * x, 2 * y + 1) +
                      fine.get(2 * x + 1, 2 * y + 1);
      mask.ink[mask.index(x, y)] = static_cast<std::uint8_t>(sum / 4);
    }
  }
  if (weight == Weight::bold) {
    for (int y = 0; y < mask.height; ++y) {
      for (int x = mask.width - 1; x > 0; --x) {
        mask.ink[mask.index(x, y)] = std::max(mask.get(x, y), mask.get(x - 1, y));
      }
    }
  }
  return mask;
}

}  // namespace

int text_width(std::string_view text, Weight weight) {
  std::string ascii = printable(text);
  if (ascii.empty()) return 0;
  // The advance of the last character ends in white space that is no part of the text's width.
  return 2 * stb_easy_font_width(ascii.data()) - 4 + (weight == Weight::bold ? 1 : 0);
}

int widest(std::span<const std::string> texts) {
  int width = 0;
  for (const std::string& text : texts) width = std::max(width, text_width(text));
  return width;
}

std::string fit_text(std::string_view text, int room, Weight weight) {
  std::string whole = printable(text);
  if (text_width(whole, weight) <= room) return whole;
  while (!whole.empty() && text_width(whole + "..", weight) > room) whole.pop_back();
  return whole.empty() ? whole : whole + "..";
}

void Canvas::text(int x, int y, std::string_view text, Color color, Align align, Weight weight) {
  if (text.empty()) return;
  const Mask mask = draw_text(text, weight);
  const int width = text_width(text, weight);
  const int left = align == Align::left ? x : align == Align::center ? x - width / 2 : x - width;
  for (int j = 0; j < mask.height; ++j) {
    for (int i = 0; i < mask.width; ++i) blend(left + i, y + j, color, mask.get(i, j) / 255.0);
  }
}

void Canvas::title(int middle, std::string_view text) {
  const std::string shown = fit_text(text, width() - 2 * kMargin, Weight::bold);
  const int half = (text_width(shown, Weight::bold) + 1) / 2;
  const int center = std::clamp(middle, std::min(kMargin + half, width() / 2),
                                std::max(width() - kMargin - half, width() / 2));
  this->text(center, kMargin, shown, kInk, Align::center, Weight::bold);
}

void Canvas::text_up(int x, int y, std::string_view text, Color color, Align align) {
  if (text.empty()) return;
  const Mask mask = draw_text(text, Weight::normal);
  const int width = text_width(text);
  const int bottom = align == Align::left ? y : align == Align::center ? y + width / 2 : y + width;
  for (int j = 0; j < mask.height; ++j) {
    for (int i = 0; i < mask.width; ++i) blend(x + j, bottom - 1 - i, color, mask.get(i, j) / 255.0);
  }
}

}  // namespace bobbin::plot::detail
