// Images as decoded from PNG, JPEG and PNM files.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace bobbin {

/// Samples in [0, 1], rows from the top, the channels of a pixel together: 1 (grey), 2 (grey, alpha), 3 (RGB)
/// or 4 (RGBA).
struct Picture {
  std::int64_t width = 0, height = 0;
  int channels = 0;
  std::vector<float> samples;
};

/// The bytes of an image file.
struct ImageBytes {
  std::string name;  ///< begins each message: "ImageFolder: PATH"
  std::span<const unsigned char> bytes;
  std::int64_t max_pixels;
};

/// Decodes a whole image; the first bytes say of which format. Throws FormatError for what is no whole image,
/// and for more than max_pixels pixels. Memory is taken only once the file is known to be long enough for its
/// header's size.
Picture decode_image(const ImageBytes&);

/// The decoders of each format.
Picture decode_png(const ImageBytes&);
Picture decode_jpeg(const ImageBytes&);
Picture decode_pnm(const ImageBytes&);

/// A picture of the size that a header gives, all 0. Throws FormatError unless each side is at least 1 and
/// the number of pixels allowed.
Picture blank_picture(const ImageBytes&, std::uint64_t width, std::uint64_t height, int channels);

/// The picture with this number of channels, scaled to this size, channel by channel: [channels, height,
/// width].
void resample(const Picture&, int channels, std::int64_t height, std::int64_t width, std::span<float> out);

}  // namespace bobbin
