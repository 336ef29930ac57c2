// ImageFolder: folders of images, which are classes.
#include <bobbin/data_files.h>
#include <bobbin/elementwise.h>
#include <dirent.h>

#include <cerrno>
#include <map>
#include <memory>
#include <set>
#include <system_error>

#include "autograd/data/image.h"
#include "core/input_file.h"

namespace bobbin {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t max_file = std::uint64_t{1} << 30;

// The extension in small letters, whatever the locale.
std::string extension(const fs::path& path) {
  std::string end = path.extension().string();
  for (char& c : end)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return end;
}

bool is_image(const fs::path& path) {
  static const std::set<std::string> known{".png", ".jpg", ".jpeg", ".pbm", ".pgm", ".ppm", ".pnm"};
  static const std::set<std::string> gone{".bmp", ".gif"};
  const std::string end = extension(path);
  if (gone.contains(end))
    fail<FormatError>("ImageFolder: ", path.string(), " is not read; convert it to PNG, JPEG or PNM");
  return known.contains(end);
}

// What a folder holds and is not hidden. libstdc++'s directory_iterator (of GCC 12) ends the program if an
// allocation fails.
std::vector<fs::path> entries(const fs::path& folder) {
  const auto failed = [&] {
    fail<IoError>("ImageFolder: ", folder.string(),
                  " cannot be listed: ", std::generic_category().message(errno));
  };
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(folder.c_str()), ::closedir);
  if (!directory) failed();
  std::vector<fs::path> out;
  errno = 0;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_name[0] != '.') out.push_back(folder / entry->d_name);
    errno = 0;
  }
  if (errno != 0) failed();
  return out;
}

std::vector<unsigned char> bytes_of(const fs::path& path) {
  InputFile file("ImageFolder", path);
  if (file.size() > max_file)
    fail<FormatError>("ImageFolder: ", file.name(), " has ", file.size(),
                      " bytes, more than an image may have");
  std::vector<unsigned char> bytes(file.size());
  bytes.resize(file.read(bytes.data(), bytes.size()));
  return bytes;
}

}  // namespace

ImageFolder::ImageFolder(const fs::path& root, std::int64_t height, std::int64_t width, std::int64_t channels,
                         std::int64_t max_pixels)
    : height_(height), width_(width), channels_(channels), max_pixels_(max_pixels) {
  if (height < 1 || width < 1 || channels < 1 || channels > 4 || height > 1 << 14 || width > 1 << 14)
    fail<ValueError>("ImageFolder: expected sizes of 1 to 16384 and 1 to 4 channels; got ", height, " x ",
                     width, " x ", channels);
  if (max_pixels < 1 || max_pixels > std::int64_t{1} << 31)
    fail<ValueError>("ImageFolder: expected max_pixels of 1 to 2^31; got ", max_pixels);
  std::map<std::string, std::set<fs::path>> folders;
  std::error_code error;
  for (auto& folder : entries(root)) {
    if (!fs::is_directory(folder, error)) continue;
    auto& files = folders[folder.filename().string()];
    for (auto& file : entries(folder))
      if (fs::is_regular_file(file, error) && is_image(file)) files.insert(file);
  }
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
    const auto bytes = bytes_of(files_[at]);
    const Picture picture = decode_image({"ImageFolder: " + files_[at].string(), bytes, max_pixels_});
    resample(picture, static_cast<int>(channels_), height_, width_,
             images.mutable_data<float>().subspan(i * each, each));
    labels.mutable_data<std::int64_t>()[i] = labels_[at];
  }
  return {images, labels};
}

}  // namespace bobbin
