// Images and gradients as convolutions of stride 1 read them: with their padding, or at its pitch.
#pragma once
#include <algorithm>
#include <vector>

#include "conv.h"
#include "registers.h"

namespace bobbin {

inline std::int64_t rounded_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

/// Elements that are read row by row; where there is a gate, which lies as they do, they count as 0 where
/// that is not positive.
template<class T>
struct Source {
  const T *data, *gate = nullptr;
  void read(std::int64_t at, std::int64_t n, T* to) const {
    if (gate)
      map_row(
          n, to, [](auto v, auto y) { return y > 0 ? v : decltype(v){}; }, data + at, gate + at);
    else
      copy_row(data + at, n, to);
  }
};

/// A group of channels of an image with its padding, as a convolution reads it: `pitch` elements a row. What
/// is padding at the end of one row is it, too, at the beginning of the next.
struct Frame {
  std::int64_t channels, h, w;  ///< of the image
  std::int64_t rows, cols;      ///< of the result
  std::int64_t kh, kw;
  Pair dilation, padding;  ///< the padding may be negative

  std::int64_t left() const { return std::max<std::int64_t>(0, padding.w); }
  std::int64_t width() const { return cols + dilation.w * (kw - 1); }  ///< that a row of the result reads
  /// Pixels of a row, which begin at first_pixel() of the image's.
  std::int64_t first_pixel() const { return std::max<std::int64_t>(0, -padding.w); }
  std::int64_t pixels() const {
    return std::max<std::int64_t>(0, std::min(w - first_pixel(), width() - left()));
  }
  std::int64_t pitch() const { return std::max({left() + pixels(), width() - left(), cols}); }
  std::int64_t height() const { return rows + dilation.h * (kh - 1); }
  std::int64_t plane() const { return pitch() * height(); }
  std::int64_t taps() const { return channels * kh * kw; }
  std::int64_t places() const { return rows * pitch(); }

  /// Where the row of each tap begins.
  std::vector<std::int64_t> offsets() const {
    std::vector<std::int64_t> out;
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t ky = 0; ky < kh; ++ky)
        for (std::int64_t kx = 0; kx < kw; ++kx)
          out.push_back(c * plane() + ky * dilation.h * pitch() + kx * dilation.w);
    return out;
  }
};

/// From row to row of a result: an odd number of vectors, as powers of two would share places in a cache.
template<class T>
std::int64_t pitch_of_rows(const Frame& f) {
  return rounded_up(f.places(), register_lanes<T>) | register_lanes<T>;
}

/// Space for a frame, and for what the last vector reads behind it. What follows is aligned to vectors.
template<class T>
std::int64_t size_of_frame(const Frame& f) {
  return rounded_up(f.channels * f.plane() + register_lanes<T> + f.width(), register_lanes<T>);
}

/// Puts the pixels into a frame, which is 0 wherever none belongs.
template<class T>
void fill_frame(const Frame& f, const Source<T>& image, T* frame) {
  const std::int64_t first = std::clamp<std::int64_t>(f.padding.h, 0, f.height()),
                     last = std::clamp(f.h + f.padding.h, first, f.height());
  if (f.pixels() == 0) return;
  for (std::int64_t c = 0; c < f.channels; ++c)
    for (std::int64_t r = first; r < last; ++r)
      image.read((c * f.h + r - f.padding.h) * f.w + f.first_pixel(), f.pixels(),
                 frame + c * f.plane() + r * f.pitch() + f.left());
}

/// Puts rows of a result, [rows, f.rows, f.cols], at the frame's pitch, where it is 0 between them.
template<class T>
void widen(const Frame& f, std::int64_t rows, const Source<T>& from, T* to, std::int64_t pitch) {
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t i = 0; i < f.rows; ++i)
      from.read((r * f.rows + i) * f.cols, f.cols, to + r * pitch + i * f.pitch());
}

inline Frame frame_of_input(const ConvShape& s) {
  return {s.group_in(), s.h, s.w, s.oh, s.ow, s.kh, s.kw, s.options.dilation, s.options.padding};
}

}  // namespace bobbin
