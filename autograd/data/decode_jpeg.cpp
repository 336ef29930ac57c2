// JPEG files, decoded by libjpeg-turbo.
#include <bobbin/error.h>
#include <jerror.h>
#include <jpeglib.h>

#include <array>
#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it before
#include <new>

#include "autograd/data/image.h"

namespace bobbin {
namespace {

constexpr int max_scans = 100;  // encoders write about ten; a thousand empty ones cost minutes

struct Reader {
  jpeg_decompress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf jump;
  std::array<char, JMSG_LENGTH_MAX> message{};
  bool memory = false;

  ~Reader() { jpeg_destroy_decompress(&jpeg); }
};

Reader& reader_of(j_common_ptr jpeg) { return *static_cast<Reader*>(jpeg->client_data); }

[[noreturn]] void on_error(j_common_ptr jpeg) {
  Reader& r = reader_of(jpeg);
  r.errors.format_message(jpeg, r.message.data());
  r.memory = r.errors.msg_code == JERR_OUT_OF_MEMORY;
  std::longjmp(r.jump, 1);
}

// Warnings are of damaged data, for which libjpeg would invent pixels; but for these, which cost none.
void on_message(j_common_ptr jpeg, int level) {
  const int code = reader_of(jpeg).errors.msg_code;
  if (level < 0 && code != JWRN_EXTRANEOUS_DATA && code != JWRN_JFIF_MAJOR && code != JWRN_TOO_MUCH_DATA)
    on_error(jpeg);
}

void no_output(j_common_ptr) {}

void on_progress(j_common_ptr jpeg) {
  if (reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number <= max_scans) return;
  Reader& r = reader_of(jpeg);
  std::snprintf(r.message.data(), r.message.size(), "it has more than %d scans", max_scans);
  std::longjmp(r.jump, 1);
}

// libjpeg leaves by longjmp, so no object with a destructor may live in these two functions.
bool read_header(Reader& r, const unsigned char* bytes, std::size_t n) {
  if (setjmp(r.jump) != 0) return false;
  jpeg_create_decompress(&r.jpeg);
  r.jpeg.progress = &r.progress;
  jpeg_mem_src(&r.jpeg, bytes, n);
  jpeg_read_header(&r.jpeg, TRUE);
  const J_COLOR_SPACE space = r.jpeg.jpeg_color_space;
  r.jpeg.out_color_space = space == JCS_GRAYSCALE                   ? JCS_GRAYSCALE
                           : space == JCS_CMYK || space == JCS_YCCK ? JCS_CMYK
                                                                    : JCS_RGB;
  return true;
}

bool read_rows(Reader& r, unsigned char* out) {
  if (setjmp(r.jump) != 0) return false;
  jpeg_start_decompress(&r.jpeg);
  const std::size_t row =
      std::size_t{r.jpeg.output_width} * static_cast<std::size_t>(r.jpeg.output_components);
  while (r.jpeg.output_scanline < r.jpeg.output_height) {
    unsigned char* at = out + r.jpeg.output_scanline * row;
    jpeg_read_scanlines(&r.jpeg, &at, 1);
  }
  jpeg_finish_decompress(&r.jpeg);
  return true;
}

}  // namespace

Picture decode_jpeg(const ImageBytes& source) {
  Reader r;
  r.jpeg.err = jpeg_std_error(&r.errors);
  r.jpeg.client_data = &r;
  r.errors.error_exit = on_error;
  r.errors.emit_message = on_message;
  r.errors.output_message = no_output;
  r.progress.progress_monitor = on_progress;
  const auto failed = [&] {
    if (r.memory) throw std::bad_alloc();
    fail<FormatError>(source.name, " is no whole JPEG: ", r.message.data());
  };
  if (!read_header(r, source.bytes.data(), source.bytes.size())) failed();
  const std::uint64_t width = r.jpeg.image_width, height = r.jpeg.image_height;
  // Each block of 8 x 8 pixels has a Huffman code of at least one bit.
  if (!r.jpeg.arith_code && (width + 7) / 8 * ((height + 7) / 8) / 8 > source.bytes.size())
    fail<FormatError>(source.name, " is no whole JPEG: ", source.bytes.size(), " bytes cannot hold ", width,
                      " x ", height, " pixels");
  const bool cmyk = r.jpeg.out_color_space == JCS_CMYK, grey = r.jpeg.out_color_space == JCS_GRAYSCALE;
  Picture out = blank_picture(source, width, height, grey ? 1 : 3);
  const std::size_t pixels = width * height;
  std::vector<unsigned char> bytes(pixels * (cmyk ? 4 : grey ? 1 : 3));
  if (!read_rows(r, bytes.data())) failed();
  if (!cmyk) {
    for (std::size_t i = 0; i < bytes.size(); ++i) out.samples[i] = static_cast<float>(bytes[i]) / 255.0F;
    return out;
  }
  // Adobe's files hold 255 for no ink, others 0.
  const int flip = r.jpeg.saw_Adobe_marker ? 0 : 255;
  for (std::size_t i = 0; i < pixels; ++i)
    for (std::size_t c = 0; c < 3; ++c)
      out.samples[3 * i + c] =
          static_cast<float>((bytes[4 * i + c] ^ flip) * (bytes[4 * i + 3] ^ flip)) / 65025.0F;
  return out;
}

}  // namespace bobbin
