// PNM files: PBM, PGM and PPM, as text (P1 to P3) and binary (P4 to P6). See
// https://netpbm.sourceforge.net/doc/pnm.html
#include <bobbin/error.h>

#include "autograd/data/image.h"

namespace bobbin {
namespace {

class Reader {
 public:
  explicit Reader(const ImageBytes& source) : source_(source), bytes_(source.bytes) {}

  Picture picture() {
    if (bytes_.size() < 2 || bytes_[0] != 'P' || bytes_[1] < '1' || bytes_[1] > '6') bad("expected P1 to P6");
    const int kind = bytes_[1] - '0';
    at_ = 2;
    const bool bitmap = kind % 3 == 1, text = kind <= 3;
    const std::uint32_t width = number(), height = number();
    const std::uint32_t most = bitmap ? 1 : number();
    if (most < 1 || most > 65535) bad("a maximum of ", most, "; expected 1 to 65535");
    if (!text && (at_ == bytes_.size() || !space(bytes_[at_++]))) bad("the header has no end");
    const std::uint64_t channels = kind % 3 == 0 ? 3 : 1, samples = std::uint64_t{width} * height,
                        row =
                            bitmap ? (std::uint64_t{width} + 7) / 8 : width * channels * (most > 255 ? 2 : 1);
    const std::uint64_t left = bytes_.size() - at_;
    // A sample of text has at least one digit and, but in a bitmap, a space before the next.
    if (text ? samples > (left + 1) / (bitmap ? 1 : 2) / channels : row > left / (height ? height : 1))
      bad(left, " bytes cannot hold ", width, " x ", height, " pixels");
    Picture out = blank_picture(source_, width, height, static_cast<int>(channels));
    if (kind == 4)
      read_bits(out, row);
    else
      for (float& sample : out.samples) sample = value(kind, most);
    return out;
  }

 private:
  template<class... What>
  [[noreturn]] void bad(const What&... what) const {
    fail<FormatError>(source_.name, " is no whole PNM image: byte ", at_, ": ", what...);
  }

  static bool space(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

  // White space and comments, which go from # to the end of the line.
  void skip() {
    for (; at_ < bytes_.size(); ++at_) {
      if (bytes_[at_] == '#')
        while (at_ + 1 < bytes_.size() && bytes_[at_] != '\n' && bytes_[at_] != '\r') ++at_;
      else if (!space(bytes_[at_]))
        return;
    }
  }

  std::uint32_t number() {
    skip();
    const std::size_t begin = at_;
    std::uint64_t n = 0;
    for (; at_ < bytes_.size() && bytes_[at_] >= '0' && bytes_[at_] <= '9'; ++at_) {
      n = n * 10 + (bytes_[at_] - '0');
      if (n > 0x7fffffff) bad("a number that is too large");
    }
    if (at_ == begin) bad("expected a number");
    return static_cast<std::uint32_t>(n);
  }

  float value(int kind, std::uint32_t most) {
    std::uint32_t v = 0;
    if (kind == 1) {  // digits need no space between them; 1 is black
      skip();
      if (at_ == bytes_.size() || (bytes_[at_] != '0' && bytes_[at_] != '1')) bad("expected 0 or 1");
      return bytes_[at_++] == '1' ? 0.0F : 1.0F;
    }
    if (kind <= 3)
      v = number();
    else
      for (int i = 0; i < (most > 255 ? 2 : 1); ++i) v = v << 8 | bytes_[at_++];
    if (v > most) bad("a sample of ", v, "; the maximum is ", most);
    return static_cast<float>(v) / static_cast<float>(most);
  }

  void read_bits(Picture& out, std::uint64_t row) {
    const auto width = static_cast<std::uint64_t>(out.width);
    for (std::size_t i = 0; i < out.samples.size(); ++i) {
      const std::uint64_t y = i / width, x = i % width;
      const int bit = bytes_[at_ + y * row + x / 8] >> (7 - x % 8) & 1;
      out.samples[i] = bit ? 0.0F : 1.0F;
    }
  }

  const ImageBytes& source_;
  std::span<const unsigned char> bytes_;
  std::size_t at_ = 0;
};

}  // namespace

Picture decode_pnm(const ImageBytes& source) { return Reader(source).picture(); }

}  // namespace bobbin
