#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>

#include "bobbin/error.h"
#include "bobbin/plot.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#define STB_IMAGE_WRITE_STATIC  // another copy of stb in the same program must not clash with this one
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

namespace bobbin::plot {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& path, int error) {
  fail<IoError>("save_png: cannot write '", path.string(), "': ", std::generic_category().message(error));
}

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

/// A file that is removed again unless it was renamed into place.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& target) : target_(target) {
    static std::atomic<unsigned> counter{0};
    name_ = target;
    name_ += ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
    file_ = ::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file_ < 0) refuse(target_, errno);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (file_ >= 0) ::close(file_);
    if (!placed_) ::unlink(name_.c_str());
  }

  void write(const std::string& bytes) {
    for (std::size_t done = 0; done < bytes.size();) {
      const ssize_t wrote = ::write(file_, bytes.data() + done, bytes.size() - done);
      if (wrote < 0 && errno != EINTR) refuse(target_, errno);
      if (wrote > 0) done += static_cast<std::size_t>(wrote);
    }
  }

  void place() {
    // The bytes must be on disk before the name is, or a crash could leave an empty picture.
    if (::fsync(file_) != 0) refuse(target_, errno);
    const int file = file_;
    file_ = -1;
    if (::close(file) != 0) refuse(target_, errno);
    if (::rename(name_.c_str(), target_.c_str()) != 0) refuse(target_, errno);
    placed_ = true;
  }

 private:
  std::filesystem::path target_, name_;
  int file_ = -1;
  bool placed_ = false;
};

}  // namespace

void save_png(const Image& image, const std::filesystem::path& path) {
  // Renaming onto a device such as /dev/null would replace it.
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    fail<IoError>("save_png: cannot write '", path.string(), "': it exists and is not a regular file");
  }
  const std::string bytes = encode(image);
  if (bytes.empty()) refuse(path, ENOMEM);
  TemporaryFile file(path);
  file.write(bytes);
  file.place();
}

}  // namespace bobbin::plot
