// InputFile: opens regular files alone, and reads them at offsets.
#include "core/input_file.h"

#include <bobbin/error.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace bobbin {

InputFile::InputFile(std::string_view op, const std::filesystem::path& path) : op_(op), name_(path.string()) {
  // The kind of file is checked before it is opened, because opening a device can have effects; and again
  // after it is opened, because the name may refer to another file by then.
  struct stat status {};
  const auto require_regular = [&] {
    if (S_ISREG(status.st_mode)) return;
    fail<IoError>(op_, ": ", name_, " is not a regular file",
                  S_ISDIR(status.st_mode) ? ": it is a directory" : "");
  };
  if (::stat(path.c_str(), &status) != 0) failed();
  require_regular();
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd_ < 0) failed();
  try {
    if (::fstat(fd_, &status) != 0) failed();
    require_regular();
  } catch (...) {
    ::close(fd_);
    throw;
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::~InputFile() { ::close(fd_); }

std::size_t InputFile::read_at(std::uint64_t offset, void* out, std::size_t n) const {
  n = static_cast<std::size_t>(std::min<std::uint64_t>(n, offset < size_ ? size_ - offset : 0));
  std::size_t done = 0;
  while (done < n) {
    const ssize_t got =
        ::pread(fd_, static_cast<char*>(out) + done, n - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) failed();
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

std::size_t InputFile::read(void* out, std::size_t n) {
  const std::size_t got = read_at(at_, out, n);
  at_ += got;
  return got;
}

void InputFile::failed() const {
  fail<IoError>(op_, ": ", name_, " cannot be read: ", std::generic_category().message(errno));
}

}  // namespace bobbin
