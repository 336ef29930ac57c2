// ImageFolder: folders of images, decoded and scaled by stb.
#include <bobbin/data_files.h>
#include <bobbin/elementwise.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBIR_DEFAULT_FILTER_DOWNSAMPLE STBIR_FILTER_MITCHELL
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#define STB_IMAGE_RESIZE_STATIC
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image.h>
#include <stb/stb_image_resize.h>
#pragma GCC diagnostic pop

namespace bobbin {
namespace {

namespace fs = std::filesystem;

bool is_image(const fs::path& path) {
  static const std::set<std::string> known{".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".pnm"};
  std::string end = path.extension().string();
  std::ranges::transform(end, end.begin(), [](unsigned char c) { return std::tolower(c); });
  return known.contains(end);
}

// Reads an image as f32 [channels, height, width] in [0, 1].
void read_image(const fs::path& path, std::span<float> out, int channels, int height, int width) {
  int w = 0, h = 0, c = 0;
  const std::unique_ptr<unsigned char, void (*)(void*)> read(stbi_load(path.c_str(), &w, &h, &c, channels),
                                                             stbi_image_free);
  if (!read) fail<FormatError>("ImageFolder: ", path.string(), " is no image: ", stbi_failure_reason());
  std::vector<unsigned char> scaled(static_cast<std::size_t>(width) * height * channels);
  if (w == width && h == height)
    std::copy_n(read.get(), scaled.size(), scaled.begin());
  else if (!stbir_resize_uint8(read.get(), w, h, 0, scaled.data(), width, height, 0, channels))
    fail<Error>("ImageFolder: ", path.string(), " cannot be scaled to ", height, " x ", width);
  const auto area = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
  for (std::size_t i = 0; i < scaled.size(); ++i)
    out[i % static_cast<std::size_t>(channels) * area + i / static_cast<std::size_t>(channels)] =
        static_cast<float>(scaled[i]) / 255.0F;
}

}  // namespace

ImageFolder::ImageFolder(const fs::path& root, std::int64_t height, std::int64_t width, std::int64_t channels)
    : height_(height), width_(width), channels_(channels) {
  if (height < 1 || width < 1 || channels < 1 || channels > 4 || height > 1 << 14 || width > 1 << 14)
    fail<ValueError>("ImageFolder: expected sizes of 1 to 16384 and 1 to 4 channels; got ", height, " x ",
                     width, " x ", channels);
  std::error_code error;
  std::map<std::string, std::set<fs::path>> folders;
  for (auto& folder : fs::directory_iterator(root, error)) {
    if (!folder.is_directory()) continue;
    for (auto& file : fs::directory_iterator(folder))
      if (file.is_regular_file() && is_image(file)) folders[folder.path().filename()].insert(file.path());
  }
  if (error) fail<IoError>("ImageFolder: ", root.string(), " cannot be listed: ", error.message());
  for (auto& [name, files] : folders) {
    for (auto& file : files) {
      files_.push_back(file);
      labels_.push_back(static_cast<std::int64_t>(classes_.size()));
    }
    classes_.push_back(name);
  }
  if (files_.empty()) fail<IoError>("ImageFolder: ", root.string(), " holds no folder of images");
}

Batch ImageFolder::batch(const Tensor& indices) const {
  const auto picked = to(indices, Device::cpu()).to_vector<std::int64_t>();
  const auto n = static_cast<std::int64_t>(picked.size());
  Tensor images = empty({n, channels_, height_, width_}), labels = empty({n}, DType::i64);
  const auto each = static_cast<std::size_t>(channels_ * height_ * width_);
  for (std::size_t i = 0; i < picked.size(); ++i) {
    if (picked[i] < 0 || picked[i] >= size())
      fail<IndexError>("ImageFolder: index ", picked[i], " is outside ", size(), " images");
    const auto at = static_cast<std::size_t>(picked[i]);
    read_image(files_[at], images.mutable_data<float>().subspan(i * each, each), static_cast<int>(channels_),
               static_cast<int>(height_), static_cast<int>(width_));
    labels.mutable_data<std::int64_t>()[i] = labels_[at];
  }
  return {images, labels};
}

}  // namespace bobbin
