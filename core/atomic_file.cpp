// AtomicFile: a temporary file beside the target, which is renamed to it once all bytes are on disk.
#include "core/atomic_file.h"

#include <bobbin/error.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace bobbin {

AtomicFile::AtomicFile(std::string_view op, const std::filesystem::path& target)
    : op_(op), target_(target), name_(target.string() + ".XXXXXX") {
  struct stat status {};
  if (::stat(target.c_str(), &status) == 0 && !S_ISREG(status.st_mode))
    fail<IoError>(op, ": ", target.string(), " is there and is not a regular file");
  fd_ = ::mkostemp(name_.data(), O_CLOEXEC);
  if (fd_ < 0) failed("cannot be created");
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(fd_, 0666 & ~mask);
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!kept_) ::unlink(name_.c_str());
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  for (const char* p = static_cast<const char*>(data); bytes > 0;) {
    const ssize_t n = ::write(fd_, p, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) failed("cannot be written");
    p += n;
    bytes -= static_cast<std::size_t>(n);
  }
}

void AtomicFile::commit() {
  if (::fsync(fd_) != 0) failed("cannot be flushed to disk");
  if (::close(std::exchange(fd_, -1)) != 0) failed("cannot be closed");
  if (::rename(name_.c_str(), target_.c_str()) != 0) failed("cannot be put in place");
  kept_ = true;
  const auto directory = target_.has_parent_path() ? target_.parent_path() : std::filesystem::path(".");
  if (const int d = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); d >= 0) {
    ::fsync(d);
    ::close(d);
  }
}

void AtomicFile::failed(std::string_view what) const {
  fail<IoError>(op_, ": ", target_.string(), " ", what, ": ", std::strerror(errno));
}

}  // namespace bobbin
