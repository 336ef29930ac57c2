// PNG files, encoded by stb.
#include <bobbin/error.h>
#include <bobbin/plot.h>

#include <string>

#include "core/atomic_file.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#define STB_IMAGE_WRITE_STATIC  // another copy of stb in the same program must not clash with this one
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

namespace bobbin::plot {
namespace {

std::string encode(const Image& image) {
  static_assert(sizeof(Color) == 3, "the encoder reads pixels as packed RGB bytes");
  std::string bytes;
  const auto append = [](void* context, void* data, int size) {
    static_cast<std::string*>(context)->append(static_cast<const char*>(data),
                                               static_cast<std::size_t>(size));
  };
  const int done = stbi_write_png_to_func(append, &bytes, image.width(), image.height(), 3,
                                          image.pixels().data(), image.width() * 3);
  return done != 0 ? bytes : std::string();
}

}  // namespace

void save_png(const Image& image, const std::filesystem::path& path) {
  AtomicFile file("save_png", path);
  const std::string bytes = encode(image);
  if (bytes.empty()) fail<Error>("save_png: ", path.string(), ": the picture could not be encoded");
  file.write(bytes.data(), bytes.size());
  file.commit();
}

}  // namespace bobbin::plot
