// PNG files, decoded by libpng.
#include <bobbin/error.h>
#include <png.h>

#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "autograd/data/image.h"

namespace bobbin {
namespace {

struct Reader {
  const ImageBytes& source;
  std::size_t at = 0;
  std::array<char, 200> message{};
  png_structp png = nullptr;
  png_infop info = nullptr;

  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
  [[noreturn]] void failed() const { fail<FormatError>(source.name, " is no whole PNG: ", message.data()); }
};

[[noreturn]] void on_error(png_structp png, png_const_charp text) {
  auto& reader = *static_cast<Reader*>(png_get_error_ptr(png));
  std::snprintf(reader.message.data(), reader.message.size(), "%s", text);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

void on_read(png_structp png, png_bytep out, std::size_t n) {
  auto& reader = *static_cast<Reader*>(png_get_io_ptr(png));
  if (n > reader.source.bytes.size() - reader.at) png_error(png, "the file ends too early");
  std::memcpy(out, reader.source.bytes.data() + reader.at, n);
  reader.at += n;
}

// libpng leaves by longjmp, so no object with a destructor may live in these two functions.
bool read_header(Reader& r) {
  if (setjmp(png_jmpbuf(r.png)) != 0) return false;
  png_set_crc_action(r.png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_set_user_limits(r.png, 0x7fffffff, 0x7fffffff);  // blank_picture has the limit
  png_read_info(r.png, r.info);
  return true;
}

bool read_rows(Reader& r, png_bytepp rows) {
  if (setjmp(png_jmpbuf(r.png)) != 0) return false;
  png_read_image(r.png, rows);
  png_read_end(r.png, nullptr);
  return true;
}

// Asks for 8 or 16 bits per sample, no palette, and an alpha channel for a transparent colour.
bool set_layout(Reader& r) {
  if (setjmp(png_jmpbuf(r.png)) != 0) return false;
  png_set_expand(r.png);
  png_set_swap(r.png);  // samples of 16 bits are big-endian in the file
  png_set_interlace_handling(r.png);
  png_read_update_info(r.png, r.info);
  return true;
}

}  // namespace

Picture decode_png(const ImageBytes& source) {
  Reader r{source};
  r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning);
  r.info = r.png ? png_create_info_struct(r.png) : nullptr;
  if (!r.info) throw std::bad_alloc();
  png_set_read_fn(r.png, &r, on_read);
  if (!read_header(r)) r.failed();
  const std::uint64_t width = png_get_image_width(r.png, r.info),
                      height = png_get_image_height(r.png, r.info);
  // Deflate makes at most 1032 bytes of one.
  const auto held = static_cast<std::uint64_t>(source.bytes.size()) * 1032 + 1024;
  const std::uint64_t row =
      (width * png_get_bit_depth(r.png, r.info) * png_get_channels(r.png, r.info) + 7) / 8;
  if (row > held / height)
    fail<FormatError>(source.name, " is no whole PNG: ", source.bytes.size(), " bytes cannot hold ", width,
                      " x ", height, " pixels");
  if (!set_layout(r)) r.failed();
  Picture out = blank_picture(source, width, height, png_get_channels(r.png, r.info));
  const bool wide = png_get_bit_depth(r.png, r.info) == 16;
  const std::size_t row_bytes = png_get_rowbytes(r.png, r.info);
  std::vector<unsigned char> bytes(row_bytes * height);
  std::vector<png_bytep> rows;
  for (std::uint64_t y = 0; y < height; ++y) rows.push_back(bytes.data() + y * row_bytes);
  if (!read_rows(r, rows.data())) r.failed();
  if (!wide) {
    for (std::size_t i = 0; i < out.samples.size(); ++i)
      out.samples[i] = static_cast<float>(bytes[i]) / 255.0F;
    return out;
  }
  for (std::size_t i = 0; i < out.samples.size(); ++i) {
    std::uint16_t v = 0;
    std::memcpy(&v, bytes.data() + 2 * i, 2);
    out.samples[i] = static_cast<float>(v) / 65535.0F;
  }
  return out;
}

}  // namespace bobbin
