// Writes valid files of each format, from which fuzzing begins: corpus DIRECTORY.
#include <bobbin/bobbin.h>
#include <jpeglib.h>
#include <zlib.h>

#include <cstdio>
#include <fstream>
#include <iostream>

using namespace bobbin;
namespace fs = std::filesystem;

namespace {

fs::path place(const fs::path& root, const char* format, const std::string& name) {
  fs::create_directories(root / format);
  return root / format / name;
}

void put(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

std::string gzip(const std::string& text) {
  z_stream z{};
  deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(text.size() + 100, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

void jpeg(const fs::path& path, int channels, bool progressive) {
  jpeg_compress_struct c{};
  jpeg_error_mgr errors{};
  c.err = jpeg_std_error(&errors);
  jpeg_create_compress(&c);
  unsigned char* out = nullptr;
  unsigned long n = 0;
  jpeg_mem_dest(&c, &out, &n);
  c.image_width = 17, c.image_height = 11;
  c.input_components = channels;
  c.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&c);
  if (progressive) jpeg_simple_progression(&c);
  jpeg_start_compress(&c, TRUE);
  std::vector<unsigned char> row(17 * 4);
  while (c.next_scanline < c.image_height) {
    for (std::size_t i = 0; i < row.size(); ++i)
      row[i] = static_cast<unsigned char>(i * 7 + c.next_scanline * 31);
    unsigned char* at = row.data();
    jpeg_write_scanlines(&c, &at, 1);
  }
  jpeg_finish_compress(&c);
  put(path, {reinterpret_cast<char*>(out), n});
  jpeg_destroy_compress(&c);
  std::free(out);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: corpus DIRECTORY\n";
    return 2;
  }
  const fs::path root = argv[1];
  const StateDict state{
      {"f", randn({3, 4})}, {"d", ones({2}, DType::f64)}, {"h", ones({5}, DType::f16)},
      {"i", arange(3)},     {"u", ones({7}, DType::u8)},  {"b", tensor({1, 0}, DType::boolean)},
      {"s", tensor(3)},     {"e", zeros({0, 3})}};
  for (auto& [name, t] : state) save_npy(place(root, "npy", name), t);
  put(place(root, "npy", "wide"),
      std::string("\x93NUMPY\2\0\x42\0\0\0", 12) +
          "{'shape': (2L,), \"descr\": '>u2', 'fortran_order': True}        \n\n" +
          std::string("\0\0\1\2\3\4", 6));
  save_npz(place(root, "npz", "all"), state);
  save_npz(place(root, "npz", "none"), {});
  save_safetensors(place(root, "safetensors", "all"), {state, {{"k", "v"}, {"\u00e9", "\n"}}});
  save_safetensors(place(root, "safetensors", "none"), {});
  put(place(root, "csv", "header"), "x,\"y\"\"z\",\"two\nlines\"\r\n1,2.5,-3e-2\r\n,nan,+7\r\n");
  put(place(root, "csv", "mark"),
      "\xEF\xBB\xBF"
      "1;2\n3;4");
  put(place(root, "metrics", "table"), "step,loss,\"a,b\"\n1,2,3\n4,");
  const std::string idx = std::string("\0\0\x08\2\0\0\0\2\0\0\0\3", 12) + "abcdef";
  put(place(root, "idx", "plain"), idx);
  put(place(root, "idx", "gzip"), gzip(idx) + std::string(3, '\0'));
  put(place(root, "idx", "members"), gzip(idx.substr(0, 5)) + gzip(idx.substr(5)));
  plot::Image image(9, 5);
  plot::save_png(image, place(root, "png", "rgb"));
  for (const int channels : {1, 3, 4})
    for (const bool progressive : {false, true})
      jpeg(place(root, "jpeg", std::to_string(channels) + (progressive ? "p" : "b")), channels, progressive);
  put(place(root, "pnm", "1"), "P1\n# comment\n3 2\n101\n0 1 0\n");
  put(place(root, "pnm", "2"), "P2 2 1 15 15 3");
  put(place(root, "pnm", "3"), "P3 1 1 1000 1000 5 0");
  put(place(root, "pnm", "4"), "P4\n9 1\n\xA0\x80");
  put(place(root, "pnm", "5"), "P5 1 2 65535\nabcd");
  put(place(root, "pnm", "6"), "P6 2 1 255\nabcdef");
}
