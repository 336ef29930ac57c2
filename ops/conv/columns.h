// The matrix of a convolution: a column for each place of the kernel, a row for each of its elements.
#pragma once
#include <algorithm>

#include "core/ceil_div.h"
#include "ops/conv/conv.h"

namespace bobbin {

/// Calls f(column, pixel, first, last) for each row of outputs and each element of the kernel, of one
/// channel: of these `ow` columns, which begin at `column` of the channel's part of the matrix, those from
/// first to last are of the image, column i of pixel + i stride; the others are of the padding.
template<class F>
void each_stretch(const ConvShape& s, F&& f) {
  const auto& [stride, padding, dilation, groups] = s.options;
  for (std::int64_t ky = 0, row = 0; ky < s.kh; ++ky)
    for (std::int64_t kx = 0; kx < s.kw; ++kx, ++row) {
      const std::int64_t left = kx * dilation.w - padding.w;
      // Columns whose pixel is in the image: ox stride + left in [0, w).
      const std::int64_t first = std::clamp<std::int64_t>(ceil_div(-left, stride.w), 0, s.ow);
      const std::int64_t last =
          std::clamp<std::int64_t>(s.w - left <= 0 ? 0 : ceil_div(s.w - left, stride.w), first, s.ow);
      for (std::int64_t oy = 0; oy < s.oh; ++oy) {
        const std::int64_t y = oy * stride.h + ky * dilation.h - padding.h,
                           column = row * s.places() + oy * s.ow;
        if (y < 0 || y >= s.h)
          f(column, std::int64_t{0}, std::int64_t{0}, std::int64_t{0});
        else
          f(column, y * s.w + left, first, last);
      }
    }
}

/// The matrix of one group of channels of one image.
template<class T>
void to_columns(const ConvShape& s, const T* image, T* columns) {
  for (std::int64_t c = 0; c < s.group_in(); ++c) {
    const T* from = image + c * s.h * s.w;
    T* to = columns + c * s.kh * s.kw * s.places();
    each_stretch(s, [&](std::int64_t column, std::int64_t pixel, std::int64_t first, std::int64_t last) {
      T* out = to + column;
      std::fill(out, out + first, T(0));
      if (s.options.stride.w == 1)
        std::copy(from + (pixel + first), from + (pixel + last), out + first);
      else
        for (std::int64_t i = first; i < last; ++i) out[i] = from[pixel + i * s.options.stride.w];
      std::fill(out + last, out + s.ow, T(0));
    });
  }
}

/// Adds each column's element to its pixel.
template<class T>
void add_columns(const ConvShape& s, const T* columns, T* image) {
  std::fill(image, image + s.group_in() * s.h * s.w, T(0));
  for (std::int64_t c = 0; c < s.group_in(); ++c) {
    T* to = image + c * s.h * s.w;
    const T* from = columns + c * s.kh * s.kw * s.places();
    each_stretch(s, [&](std::int64_t column, std::int64_t pixel, std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) to[pixel + i * s.options.stride.w] += from[column + i];
    });
  }
}

}  // namespace bobbin
