// Chooses the decoder of an image, converts channels, and scales with stb.
#include "autograd/data/image.h"

#include <bobbin/error.h>

#include <algorithm>
#include <array>
#include <new>

#define STBIR_DEFAULT_FILTER_DOWNSAMPLE STBIR_FILTER_MITCHELL
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#define STB_IMAGE_RESIZE_STATIC
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image_resize.h>
#pragma GCC diagnostic pop

namespace bobbin {
namespace {

constexpr std::uint64_t max_side = 1 << 20;  // stb counts bytes of a row in int

// One pixel with another number of channels. Grey is formed so that equal parts give exactly themselves.
void convert_pixel(const float* in, int from, float* out, int to) {
  const bool colour = from >= 3;
  const float alpha = from % 2 == 0 ? in[from - 1] : 1.0F;
  const float grey = colour ? in[1] + .299F * (in[0] - in[1]) + .114F * (in[2] - in[1]) : in[0];
  if (to <= 2)
    out[0] = std::clamp(grey, 0.0F, 1.0F);
  else
    for (int c = 0; c < 3; ++c) out[c] = colour ? in[c] : in[0];
  if (to % 2 == 0) out[to - 1] = alpha;
}

}  // namespace

Picture blank_picture(const ImageBytes& source, std::uint64_t width, std::uint64_t height, int channels) {
  if (width < 1 || height < 1) fail<FormatError>(source.name, " is an image without pixels");
  const auto most = static_cast<std::uint64_t>(std::max<std::int64_t>(source.max_pixels, 0));
  if (width > max_side || height > max_side)
    fail<FormatError>(source.name, " has ", width, " x ", height, " pixels; a side may have ", max_side);
  if (width > most / height)
    fail<FormatError>(source.name, " has ", width, " x ", height, " pixels, more than max_pixels, ", most);
  return {static_cast<std::int64_t>(width), static_cast<std::int64_t>(height), channels,
          std::vector<float>(width * height * static_cast<std::uint64_t>(channels))};
}

Picture decode_image(const ImageBytes& source) {
  constexpr std::array<unsigned char, 4> png{0x89, 'P', 'N', 'G'};
  const auto b = source.bytes;
  if (b.empty()) fail<FormatError>(source.name, " is empty: no image");
  if (b.size() >= 4 && std::equal(png.begin(), png.end(), b.begin())) return decode_png(source);
  if (b.size() >= 3 && b[0] == 0xff && b[1] == 0xd8 && b[2] == 0xff) return decode_jpeg(source);
  if (b.size() >= 2 && b[0] == 'P' && b[1] >= '1' && b[1] <= '6') return decode_pnm(source);
  fail<FormatError>(source.name, " is no image: neither PNG nor JPEG nor PNM");
}

void resample(const Picture& in, int channels, std::int64_t height, std::int64_t width,
              std::span<float> out) {
  const auto n = static_cast<std::size_t>(channels), pixels = static_cast<std::size_t>(in.width * in.height),
             area = static_cast<std::size_t>(width * height);
  std::vector<float> wanted(pixels * n);
  for (std::size_t i = 0; i < pixels; ++i)
    convert_pixel(in.samples.data() + i * static_cast<std::size_t>(in.channels), in.channels,
                  wanted.data() + i * n, channels);
  if (in.width != width || in.height != height) {
    std::vector<float> scaled(area * n);
    if (!stbir_resize_float(wanted.data(), static_cast<int>(in.width), static_cast<int>(in.height), 0,
                            scaled.data(), static_cast<int>(width), static_cast<int>(height), 0, channels))
      throw std::bad_alloc();
    wanted = std::move(scaled);
  }
  // The filters have negative parts, so edges may leave [0, 1].
  for (std::size_t i = 0; i < area; ++i)
    for (std::size_t c = 0; c < n; ++c) out[c * area + i] = std::clamp(wanted[i * n + c], 0.0F, 1.0F);
}

}  // namespace bobbin
