// PNG files, encoded by libpng.
#include <bobbin/error.h>
#include <bobbin/plot.h>
#include <png.h>

#include <memory>
#include <string>

#include "core/atomic_file.h"

namespace bobbin::plot {
namespace {

std::string encode(const Image& picture, const std::filesystem::path& path) {
  static_assert(sizeof(Color) == 3, "the encoder reads pixels as packed RGB bytes");
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(picture.width());
  image.height = static_cast<png_uint_32>(picture.height());
  image.format = PNG_FORMAT_RGB;
  const std::unique_ptr<png_image, void (*)(png_image*)> cleanup(&image, png_image_free);
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string bytes(size, '\0');
  if (png_image_write_to_memory(&image, bytes.data(), &size, 0, picture.pixels().data(), 0, nullptr) == 0)
    fail<Error>("save_png: ", path.string(), ": the picture could not be encoded: ", image.message);
  bytes.resize(size);
  return bytes;
}

}  // namespace

void save_png(const Image& image, const std::filesystem::path& path) {
  const std::string bytes = encode(image, path);
  AtomicFile file("save_png", path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

}  // namespace bobbin::plot
