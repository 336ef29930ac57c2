// The memory layout of the direct convolutions: a group of channels of an image with its padding, and the
// output of a convolution of it, in the registers that the sums are computed in.
#pragma once
#include <algorithm>
#include <vector>

#include "core/ceil_div.h"
#include "ops/conv/cpu.h"
#include "ops/cpu/registers.h"

namespace bobbin {

using simd::Constant, simd::copy_row, simd::many_registers, simd::map_row, simd::prefetch_ahead,
    simd::Register, simd::register_lanes, simd::RegisterPart, simd::sum_products, simd::sum_registers,
    simd::sum_rows, simd::Terms;

constexpr std::int64_t rounded_up(std::int64_t n, std::int64_t unit) { return ceil_div(n, unit) * unit; }

/// An input that is read row by row. With a gate, which has the same layout, its elements count as 0 where
/// the gate is not positive.
template<class T>
struct GatedInput {
  const T *data, *gate = nullptr;

  /// Copies elements [at, at + n).
  void read(std::int64_t at, std::int64_t n, T* to) const {
    prefetch_ahead(data + at, n);
    if (gate) prefetch_ahead(gate + at, n);
    if (gate)
      map_row(
          n, to, [](auto v, auto y) { return y <= 0 ? decltype(v){} : v; }, data + at, gate + at);
    else
      copy_row(data + at, n, to);
  }
};

/// The cotangent of a group's output.
template<class T>
GatedInput<T> output_grad(const ConvGroup<T>& p, const Tensor& g, const Tensor& gate) {
  return {p.y(g), gate ? p.y(gate) : nullptr};
}

/// Sizes of a convolution of stride 1, and of its padded input: `height` rows of `pitch` elements per
/// channel. The zeros at the end of a row are also the left padding of the next row, so rows may overlap.
struct PaddedImage {
  std::int64_t channels, h, w;  ///< of the image without padding
  std::int64_t out_h, out_w;    ///< of the convolution's output
  std::int64_t kh, kw;
  Pair dilation, padding;  ///< negative padding leaves out the border of the image

  std::int64_t left() const { return std::max<std::int64_t>(0, padding.w); }  ///< zeros before a row
  std::int64_t width() const {
    return out_w + dilation.w * (kw - 1);
  }  ///< elements that a row of outputs reads
  /// The columns of the image that outputs read.
  std::int64_t first_column() const { return std::max<std::int64_t>(0, -padding.w); }
  std::int64_t columns() const {
    return std::max<std::int64_t>(0, std::min(w - first_column(), width() - left()));
  }
  std::int64_t pitch() const { return std::max({left() + columns(), width() - left(), out_w}); }
  std::int64_t height() const { return out_h + dilation.h * (kh - 1); }
  std::int64_t channel_size() const { return pitch() * height(); }
  std::int64_t taps() const { return channels * kh * kw; }

  /// Of each tap: the offset of the element that the first output multiplies with it.
  std::vector<std::int64_t> tap_offsets() const {
    std::vector<std::int64_t> out;
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t ky = 0; ky < kh; ++ky)
        for (std::int64_t kx = 0; kx < kw; ++kx)
          out.push_back(c * channel_size() + ky * dilation.h * pitch() + kx * dilation.w);
    return out;
  }
};

inline PaddedImage padded_input(const ConvShape& s) {
  return {s.group_in(), s.h, s.w, s.oh, s.ow, s.kh, s.kw, s.options.dilation, s.options.padding};
}

// The sums of an output channel are rows in memory. Where out_w is a whole number of registers that suits
// sum_products, each row is computed by itself. Else all rows are computed as one, with the input's pitch:
// some sums between the rows then mean nothing and are not copied to the output.

template<class T>
bool has_whole_rows(const PaddedImage& f) {
  return f.out_w == register_lanes<T> || f.out_w % (register_lanes<T> * sum_registers) == 0;
}

/// The distance of two rows of sums.
template<class T>
std::int64_t sum_row_pitch(const PaddedImage& f) {
  return has_whole_rows<T>(f) ? f.out_w : f.pitch();
}

/// The distance of two channels of sums: an odd number of registers, since channels a power of two apart
/// would compete for the same cache sets.
template<class T>
std::int64_t sum_channel_pitch(const PaddedImage& f) {
  return rounded_up(f.out_h * sum_row_pitch<T>(f), register_lanes<T>) | register_lanes<T>;
}

/// The registers of an output channel, in `count` strips. The registers of a strip are `gap` elements apart
/// in the padded input and adjacent in the sums; the strips are input_pitch and sum_pitch apart.
struct Strips {
  std::int64_t count, registers, gap, input_pitch, sum_pitch;
};
template<class T>
Strips strips(const PaddedImage& f) {
  constexpr std::int64_t lanes = register_lanes<T>;
  if (!has_whole_rows<T>(f)) return {1, ceil_div(f.out_h * f.pitch(), lanes), lanes, 0, 0};
  if (f.out_w == lanes) return {1, f.out_h, f.pitch(), 0, 0};
  return {f.out_h, f.out_w / lanes, lanes, f.pitch(), f.out_w};
}

/// Calls f(input, sum, registers, gap) for blocks of as many registers of an output channel as sum_products
/// takes: they begin at the offsets `input` of the padded input and `sum` of the sums.
template<class T, class F>
void each_register_block(const PaddedImage& f, F&& call) {
  const Strips s = strips<T>(f);
  const std::int64_t blocks = RegisterPart::fewest(s.registers);
  for (std::int64_t k = 0; k < s.count; ++k)
    for (std::int64_t i = 0; i < blocks; ++i) {
      const RegisterPart block(s.registers, blocks, i);
      call(k * s.input_pitch + block.first * s.gap, k * s.sum_pitch + block.first * register_lanes<T>,
           block.count, s.gap);
    }
}

/// Elements to allocate for a padded image, and those that the last register reads after its end. A multiple
/// of the lanes of a register.
template<class T>
std::int64_t padded_size(const PaddedImage& f) {
  return rounded_up(f.channels * f.channel_size() + register_lanes<T> + f.width(), register_lanes<T>);
}

/// Copies the image between the padding, which must hold zeros.
template<class T>
void fill_padded(const PaddedImage& f, const GatedInput<T>& image, T* padded) {
  const std::int64_t first = std::clamp<std::int64_t>(f.padding.h, 0, f.height()),
                     last = std::clamp(f.h + f.padding.h, first, f.height()), columns = f.columns(),
                     pitch = f.pitch(), channel_size = f.channel_size(), w = f.w;
  if (columns == 0) return;
  std::int64_t channel = (first - f.padding.h) * w + f.first_column();
  padded += f.left();
  for (std::int64_t c = f.channels; c > 0; --c, channel += f.h * w, padded += channel_size)
    for (std::int64_t r = first, at = channel; r < last; ++r, at += w)
      image.read(at, columns, padded + r * pitch);
}

/// Copies output channels, or their cotangent, to the layout of sums.
template<class T>
void fill_sums(const PaddedImage& f, std::int64_t channels, const GatedInput<T>& from, T* sums) {
  const std::int64_t rows = f.out_h, cols = f.out_w, channel = sum_channel_pitch<T>(f),
                     pitch = sum_row_pitch<T>(f);
  for (std::int64_t c = 0, at = 0; c < channels; ++c, sums += channel)
    for (std::int64_t r = 0; r < rows; ++r, at += cols) from.read(at, cols, sums + r * pitch);
}

/// Writes zeros between the rows of channels in the layout of sums, and after the last row.
template<class T>
void clear_gaps(const PaddedImage& f, std::int64_t channels, T* sums) {
  const std::int64_t pitch = sum_row_pitch<T>(f);
  for (std::int64_t c = 0; c < channels; ++c, sums += sum_channel_pitch<T>(f)) {
    for (std::int64_t r = 0; r < f.out_h; ++r)
      for (std::int64_t i = f.out_w; i < pitch; ++i) sums[r * pitch + i] = 0;
    std::fill(sums + f.out_h * pitch, sums + sum_channel_pitch<T>(f), T(0));
  }
}

}  // namespace bobbin
