// What the fuzz targets of images share.
#pragma once
#include <bobbin/error.h>

#include "autograd/data/image.h"

namespace bobbin::fuzz {

/// Decodes an image of at most 2^16 pixels, and scales it.
inline int picture(Picture (*decode)(const ImageBytes&), const std::uint8_t* data, std::size_t size) {
  if (size < 3) return -1;
  try {
    const Picture picture = decode({"input", {data, size}, 1 << 16});
    std::vector<float> out(4 * 9 * 7);
    const int channels = 1 + data[size - 1] % 4;
    resample(picture, channels, 9, 7, {out.data(), static_cast<std::size_t>(channels) * 63});
    for (const float v : out)
      if (!(v >= 0 && v <= 1)) __builtin_trap();
  } catch (const Error&) {
  }
  return 0;
}

}  // namespace bobbin::fuzz
