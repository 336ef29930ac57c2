// ImageFolder: every format's samples, damaged files, and what lies in folders beside images.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <jpeglib.h>
#include <sys/stat.h>
#include <zlib.h>

#include <cstdio>

#include "tests/autograd/temporary_directory.h"

using namespace bobbin;
namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

namespace {

std::string big(std::uint32_t n) {
  return {static_cast<char>(n >> 24), static_cast<char>(n >> 16), static_cast<char>(n >> 8),
          static_cast<char>(n)};
}

std::string chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  const auto sum = ::crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return big(static_cast<std::uint32_t>(data.size())) + body + big(static_cast<std::uint32_t>(sum));
}

// Rows of samples as they are stored, without filters. colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6
// RGBA.
std::string png(std::uint32_t width, std::uint32_t height, char depth, char colour,
                const std::string& samples, const std::string& more = "") {
  std::string raw, packed(1000 + samples.size(), '\0');
  const std::size_t row = samples.size() / height;
  for (std::size_t y = 0; y < height; ++y) raw += '\0' + samples.substr(y * row, row);
  uLongf n = packed.size();
  EXPECT_EQ(::compress(reinterpret_cast<Bytef*>(packed.data()), &n,
                       reinterpret_cast<const Bytef*>(raw.data()), raw.size()),
            Z_OK);
  packed.resize(n);
  return "\x89PNG\r\n\x1a\n" +
         chunk("IHDR", big(width) + big(height) + depth + colour + std::string(3, '\0')) + more +
         chunk("IDAT", packed) + chunk("IEND", "");
}

std::string jpeg(int width, int height, int channels, const std::string& samples, bool progressive = false) {
  jpeg_compress_struct c{};
  jpeg_error_mgr errors{};
  c.err = jpeg_std_error(&errors);
  jpeg_create_compress(&c);
  unsigned char* out = nullptr;
  unsigned long n = 0;
  jpeg_mem_dest(&c, &out, &n);
  c.image_width = static_cast<JDIMENSION>(width);
  c.image_height = static_cast<JDIMENSION>(height);
  c.input_components = channels;
  c.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&c);
  jpeg_set_quality(&c, 100, TRUE);
  if (progressive) jpeg_simple_progression(&c);
  jpeg_start_compress(&c, TRUE);
  std::string copy = samples;
  while (c.next_scanline < c.image_height) {
    auto* row = reinterpret_cast<unsigned char*>(copy.data()) +
                c.next_scanline * static_cast<std::size_t>(width * channels);
    jpeg_write_scanlines(&c, &row, 1);
  }
  jpeg_finish_compress(&c);
  std::string bytes(reinterpret_cast<char*>(out), n);
  jpeg_destroy_compress(&c);
  std::free(out);
  return bytes;
}

struct Images : tests::TemporaryDirectory {
  Images() { fs::create_directory(dir / "class"); }
  void put(const std::string& name, const std::string& bytes) const {
    fs::create_directories((dir / name).parent_path());
    std::ofstream(dir / name, std::ios::binary) << bytes;
  }
  // The image of these bytes, [channels, height, width], as floats.
  std::vector<float> image(const std::string& bytes, std::int64_t height, std::int64_t width,
                           std::int64_t channels = 1, std::int64_t max_pixels = 1 << 20) const {
    put("class/x.png", bytes);
    return ImageFolder(dir, height, width, channels, max_pixels).batch(arange(1))[0].to_vector<float>();
  }
  auto refused(const std::string& part = "") const {
    return ThrowsMessage<FormatError>(AllOf(HasSubstr((dir / "class/x.png").string()), HasSubstr(part)));
  }
};

TEST_F(Images, PnmHasSixKindsAndAnyMaximum) {
  using V = std::vector<float>;
  EXPECT_EQ(image("P1\n# a comment\n3 2\n101\n0 1 0\n", 2, 3), (V{0, 1, 0, 1, 0, 1}));
  EXPECT_EQ(image("P2 2 1 15 15 3", 1, 2), (V{1, 3.F / 15}));
  EXPECT_EQ(image("P2 2 1 65535 65535\n257", 1, 2), (V{1, 257.F / 65535}));
  EXPECT_EQ(image("P3 1 1 10 10 5 0", 1, 1, 3), (V{1, .5, 0}));
  EXPECT_EQ(image("P4\n9 1\n\xA0\x80", 1, 9), (V{0, 1, 0, 1, 1, 1, 1, 1, 0}));
  EXPECT_EQ(image(std::string("P5 2 1 15\n\x0f\x03"), 1, 2), (V{1, 3.F / 15}));
  EXPECT_EQ(image(std::string("P5 2 1 65535\n\xff\xff\x01\x02", 17), 1, 2), (V{1, 258.F / 65535}));
  EXPECT_EQ(image(std::string("P5 1 1 256\n\x01\x00", 13), 1, 1), (V{1}));
  EXPECT_EQ(image("P6 1 1 255\n\xff" + std::string(1, '\0') + "\x33", 1, 1, 3), (V{1, 0, .2F}));
  for (const char* bad :
       {"P1 2 1 1", "P1 1 1 2", "P2 1 1 0 0", "P2 1 1 65536 1", "P2 1 1 15 16", "P2 2 1 15 1", "P5 1 1",
        "P5 2 1 255\nx", "P5 1 1 255", "P6 1 1 255\nxx", "P2 -1 1 15 1", "P2 0 1 15", "P4 9 1\nx", "P2",
        "P5 99999999999 1 255\nx", "P7\n", "P0 1 1"})
    EXPECT_THAT([&] { image(bad, 1, 1); }, refused()) << bad;
}

TEST_F(Images, PngHasEveryDepthAndColour) {
  using V = std::vector<float>;
  EXPECT_EQ(image(png(2, 1, 8, 0, "\xff\x33"), 1, 2), (V{1, .2F}));
  EXPECT_EQ(image(png(8, 1, 1, 0, "\xA0"), 1, 8), (V{1, 0, 1, 0, 0, 0, 0, 0}));
  EXPECT_EQ(image(png(2, 1, 16, 0, std::string("\xff\xff\x01\x02", 4)), 1, 2), (V{1, 258.F / 65535}));
  EXPECT_EQ(image(png(1, 1, 8, 2, std::string("\xff\0\x33", 3)), 1, 1, 3), (V{1, 0, .2F}));
  EXPECT_EQ(image(png(2, 1, 8, 3, std::string("\1\0", 2), chunk("PLTE", std::string("\0\0\0\xff\0\0", 6))), 1,
                  2, 3),
            (V{1, 0, 0, 0, 0, 0}));
  EXPECT_EQ(image(png(1, 1, 8, 6, std::string("\xff\0\0\x33", 4)), 1, 1, 4), (V{1, 0, 0, .2F}));
  EXPECT_EQ(image(png(1, 1, 8, 6, std::string("\xff\xff\xff\x33", 4)), 1, 1, 1), (V{1}))
      << "alpha is left out";
  EXPECT_EQ(image(png(1, 1, 8, 4, "\x33\xff"), 1, 1, 2), (V{.2F, 1}));
  EXPECT_EQ(image(png(1, 1, 8, 0, "\x33"), 1, 1, 3), (V{.2F, .2F, .2F}));
}

TEST_F(Images, AnyFlippedOrMissingByteOfAPngIsRefused) {
  std::string samples;
  for (int i = 0; i < 48; ++i) samples += static_cast<char>(i * 37);
  const std::string whole = png(4, 4, 8, 2, samples, chunk("tEXt", std::string("a\0b", 3)));
  EXPECT_NO_THROW(image(whole, 4, 4));
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::string bad = whole;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    EXPECT_THAT([&] { image(bad, 4, 4); }, refused()) << "byte " << i;
    EXPECT_THAT([&] { image(whole.substr(0, i), 4, 4); }, refused()) << "cut at " << i;
  }
}

TEST_F(Images, JpegsOfOneThreeAndFourChannels) {
  const std::string grey(64, '\x80'), red = [] {
    std::string s;
    for (int i = 0; i < 64; ++i) s += std::string("\xff\0\0", 3);
    return s;
  }();
  for (const bool progressive : {false, true}) {
    for (const float v : image(jpeg(8, 8, 1, grey, progressive), 8, 8)) EXPECT_NEAR(v, 128. / 255, .004);
    const auto rgb = image(jpeg(8, 8, 3, red, progressive), 8, 8, 3);
    EXPECT_NEAR(rgb[0], 1, .01);
    EXPECT_NEAR(rgb[64], 0, .01);
  }
  // Cyan's ink is complementary to red; Adobe's marker says that inks are inverted: 255 is none.
  std::string cmyk;
  for (int i = 0; i < 64; ++i) cmyk += std::string("\0\xff\xff\xff", 4);
  const auto inks = image(jpeg(8, 8, 4, cmyk), 8, 8, 3);
  EXPECT_NEAR(inks[0], 0, .01);
  EXPECT_NEAR(inks[64], 1, .01);
}

TEST_F(Images, PartOfAJpegIsRefused) {
  std::string noise;
  for (unsigned i = 0; i < 32 * 32; ++i) noise += static_cast<char>(i * 2654435761U >> 24);
  const std::string whole = jpeg(32, 32, 1, noise);
  EXPECT_NO_THROW(image(whole, 4, 4));
  for (std::size_t n = 0; n + 2 < whole.size(); n += 7)
    EXPECT_THAT([&] { image(whole.substr(0, n), 4, 4); }, refused()) << n;
}

TEST_F(Images, MemoryIsTakenForWhatTheFileCanHold) {
  EXPECT_THAT([&] { image("P5 30000 30000 255\nx", 1, 1, 1, 1LL << 31); }, refused("cannot hold"));
  EXPECT_THAT([&] { image(png(1 << 20, 1 << 10, 8, 6, std::string(1 << 10, 'x')), 1, 1, 1, 1LL << 31); },
              refused("cannot hold"));
  std::string large = jpeg(8, 8, 1, std::string(64, 'x'));
  const auto frame = large.find("\xff\xc0");
  large.replace(frame + 5, 4, "\x7f\xff\x7f\xff");  // its height and width
  EXPECT_THAT([&] { image(large, 1, 1, 1, 1LL << 31); }, refused("cannot hold"));
  const std::string honest = png(20, 10, 8, 0, std::string(200, 'x'));
  EXPECT_THAT([&] { image(honest, 1, 1, 1, 199); }, refused("more than max_pixels, 199"));
  EXPECT_NO_THROW(image(honest, 1, 1, 1, 200));
}

TEST_F(Images, ScaledSamplesStayInRange) {
  std::string edge;
  for (int i = 0; i < 64; ++i) edge += i % 8 < 4 ? '\0' : '\xff';
  for (const std::int64_t size : {3, 5, 8, 21})
    for (const float v : image("P5 8 8 255\n" + edge, size, size)) {
      EXPECT_GE(v, 0);
      EXPECT_LE(v, 1);
    }
  for (const float v : image("P5 8 8 255\n" + std::string(64, '\xff'), 3, 17)) EXPECT_NEAR(v, 1, 1e-6);
}

TEST_F(Images, FoldersHoldOtherThingsToo) {
  const std::string black = "P5 1 1 255\n" + std::string(1, '\0');
  put("b/1.PGM", black), put("d/1.pgm", black);
  put("b/._1.pgm", "not an image"), put("b/notes.txt", "text"), put(".hidden/1.pgm", black),
      put("loose.pgm", black);
  fs::create_directory(dir / "c");
  ASSERT_EQ(::mkfifo((dir / "b/2.pgm").c_str(), 0600), 0);
  const ImageFolder folder(dir, 1, 1, 1);
  EXPECT_THAT(folder.classes(), ElementsAre("b", "c", "class", "d"))
      << "a class without images keeps its label";
  EXPECT_EQ(folder.size(), 2);
  EXPECT_THAT(folder.batch(arange(2))[1].to_vector<std::int64_t>(), ElementsAre(0, 3));
  put("b/3.gif", "GIF89a");
  EXPECT_THAT([&] { ImageFolder(dir, 1, 1); }, ThrowsMessage<FormatError>(HasSubstr("3.gif is not read")));
  EXPECT_THROW(ImageFolder(dir / "none", 1, 1), IoError);
  EXPECT_THROW(ImageFolder(dir / "c", 1, 1), IoError);
}

}  // namespace
