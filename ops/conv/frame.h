// Images and gradients as convolutions of stride 1 read them: with their padding, or at its pitch.
#pragma once
#include <algorithm>
#include <vector>

#include "core/ceil_div.h"
#include "ops/conv/parts.h"
#include "ops/cpu/registers.h"

namespace bobbin {

using simd::Constant, simd::copy_row, simd::many_registers, simd::map_row, simd::prefetch_behind,
    simd::Register, simd::register_lanes, simd::RegisterPart, simd::sum_products, simd::sum_registers,
    simd::sum_rows, simd::Terms;

constexpr std::int64_t rounded_up(std::int64_t n, std::int64_t unit) { return ceil_div(n, unit) * unit; }

/// Elements that are read row by row; where there is a gate, which lies as they do, they count as 0 where
/// that is not positive.
template<class T>
struct Source {
  const T *data, *gate = nullptr;
  void read(std::int64_t at, std::int64_t n, T* to) const {
    prefetch_behind(data + at, n);
    if (gate) prefetch_behind(gate + at, n);
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

/// Whether rows of a result are registers, as many as sums take or one of each row: sums then go along each
/// row by itself. Else they go along all of it at the frame's pitch, and what comes out between the rows is
/// left out.
template<class T>
bool whole_rows(const Frame& f) {
  return f.cols == register_lanes<T> || f.cols % (register_lanes<T> * sum_registers) == 0;
}

/// From row to row of a result, where sums are.
template<class T>
std::int64_t row_step(const Frame& f) {
  return whole_rows<T>(f) ? f.cols : f.pitch();
}

/// From channel to channel of a result: an odd number of vectors, as powers of two would share places in a
/// cache.
template<class T>
std::int64_t channel_step(const Frame& f) {
  return rounded_up(f.rows * row_step<T>(f), register_lanes<T>) | register_lanes<T>;
}

/// A result's registers in strips that lie evenly in a frame: each is so many, `gap` apart there and beside
/// each other in the result; from strip to strip it is in_frame and in_result.
struct Strips {
  std::int64_t count, registers, gap, in_frame, in_result;
};
template<class T>
Strips strips(const Frame& f) {
  constexpr std::int64_t lanes = register_lanes<T>;
  if (!whole_rows<T>(f)) return {1, rounded_up(f.places(), lanes) / lanes, lanes, 0, 0};
  if (f.cols == lanes) return {1, f.rows, f.pitch(), 0, 0};
  return {f.rows, f.cols / lanes, lanes, f.pitch(), f.cols};
}

/// Calls call(at, place, registers, gap) for as many of them as sums take: they begin at `at` of a frame, and
/// at `place` of the result.
template<class T, class F>
void each_registers(const Frame& f, F&& call) {
  const Strips s = strips<T>(f);
  const std::int64_t parts = RegisterPart::fewest(s.registers);
  for (std::int64_t k = 0; k < s.count; ++k)
    for (std::int64_t i = 0; i < parts; ++i) {
      const RegisterPart part(s.registers, parts, i);
      call(k * s.in_frame + part.first * s.gap, k * s.in_result + part.first * register_lanes<T>, part.count,
           s.gap);
    }
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
                     last = std::clamp(f.h + f.padding.h, first, f.height()), pixels = f.pixels(),
                     pitch = f.pitch(), plane = f.plane(), w = f.w;
  if (pixels == 0) return;
  std::int64_t pixel = (first - f.padding.h) * w + f.first_pixel();
  frame += f.left();
  for (std::int64_t c = f.channels; c > 0; --c, pixel += f.h * w, frame += plane)
    for (std::int64_t r = first, at = pixel; r < last; ++r, at += w)
      image.read(at, pixels, frame + r * pitch);
}

/// Writes 0 between the rows of channels of a result, and behind them.
template<class T>
void clear_gaps(const Frame& f, std::int64_t channels, T* to) {
  const std::int64_t step = row_step<T>(f);
  for (std::int64_t c = 0; c < channels; ++c, to += channel_step<T>(f)) {
    for (std::int64_t r = 0; r < f.rows; ++r)
      for (std::int64_t i = f.cols; i < step; ++i) to[r * step + i] = 0;
    std::fill(to + f.rows * step, to + channel_step<T>(f), T(0));
  }
}

/// Puts channels of a result where sums are, between gaps.
template<class T>
void widen(const Frame& f, std::int64_t channels, const Source<T>& from, T* to) {
  const std::int64_t rows = f.rows, cols = f.cols, channel = channel_step<T>(f), step = row_step<T>(f);
  for (std::int64_t c = 0, at = 0; c < channels; ++c, to += channel)
    for (std::int64_t r = 0; r < rows; ++r, at += cols) from.read(at, cols, to + r * step);
}

inline Frame frame_of_input(const ConvShape& s) {
  return {s.group_in(), s.h, s.w, s.oh, s.ow, s.kh, s.kw, s.options.dilation, s.options.padding};
}

/// The gradient of a part's result.
template<class T>
Source<T> source(const ConvPart<T>& p, const Tensor& g, const Tensor& gate) {
  return {p.y(g), gate ? p.y(gate) : nullptr};
}

}  // namespace bobbin
