// AtomicFile: a temporary file beside the target, which is renamed to it once all bytes are on disk.
#include "core/atomic_file.h"

#include <bobbin/error.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <random>
#include <system_error>
#include <utility>

#include "core/output_path.h"

namespace bobbin {
namespace {

constexpr std::size_t buffer_size = 1 << 16, random_letters = 8;

std::string random_name() {
  std::random_device random;
  std::string name;
  for (std::size_t i = 0; i < random_letters; ++i) name += "abcdefghijklmnopqrstuvwxyz012345"[random() % 32];
  return name;
}

// Mode and owner of the file that is replaced. Where the group cannot be kept, another one gets no more than
// all others.
void take_over(int fd, const struct stat& old) {
  mode_t mode = old.st_mode & 07777;
  struct stat own {};
  const bool same = ::fstat(fd, &own) == 0 && own.st_uid == old.st_uid && own.st_gid == old.st_gid;
  if (!same && ::fchown(fd, old.st_uid, old.st_gid) != 0 &&
      ::fchown(fd, static_cast<uid_t>(-1), old.st_gid) != 0)
    mode = (mode & 0707) | ((mode & 07) << 3);
  ::fchmod(fd, mode);
}

}  // namespace

AtomicFile::AtomicFile(std::string_view op, const std::filesystem::path& target) : op_(op), asked_(target) {
  buffer_.reserve(buffer_size);
  OutputPath out = output_path(op, target);
  if (out.stream >= 0) {
    fd_ = out.stream;
    return;
  }
  target_ = std::move(out.file);
  directory_ = target_.has_parent_path() ? target_.parent_path() : std::filesystem::path(".");
  // A name has at most 255 bytes, so a long target's is cut.
  prefix_ = target_.filename().string().substr(0, 200) + ".bobbin-tmp-";
  create();
  try {
    remove_leftovers();
  } catch (...) {  // of memory: the destructor does not run
    ::close(fd_);
    ::unlink(name_.c_str());
    throw;
  }
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!name_.empty()) ::unlink(name_.c_str());
}

void AtomicFile::create() {
  struct stat old {};
  const bool replaces = ::stat(target_.c_str(), &old) == 0;
  // The system applies the umask itself. To read the umask would be to change it for a moment, for all
  // threads.
  const mode_t mode = replaces ? old.st_mode & 0666 : 0666;
  for (int attempt = 0; attempt < 100; ++attempt) {
    name_ = (directory_ / (prefix_ + random_name())).string();
    fd_ = ::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd_ < 0 && errno == EEXIST) continue;
    if (fd_ < 0) {
      name_.clear();
      failed("cannot be created");
    }
    // Where the file system has no locks, no other process removes the file either. Where another process
    // took it for a leftover before it was locked, the next name is tried.
    const bool locked = ::flock(fd_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
    struct stat own {};
    if (locked && (::fstat(fd_, &own) != 0 || own.st_nlink > 0)) {
      if (replaces) take_over(fd_, old);
      return;
    }
    ::close(std::exchange(fd_, -1));
    ::unlink(name_.c_str());
  }
  name_.clear();
  errno = EEXIST;
  failed("cannot be created");
}

// Removes the temporary files that dead writers of this target left: those that nobody has locked.
void AtomicFile::remove_leftovers() const {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(directory_.c_str()), ::closedir);
  if (!directory) return;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    if (name.size() != prefix_.size() + random_letters || !name.starts_with(prefix_) || name_.ends_with(name))
      continue;
    const int at = ::dirfd(directory.get());
    const int fd = ::openat(at, entry->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) continue;
    struct stat status {};
    if (::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == ::geteuid() &&
        ::flock(fd, LOCK_EX | LOCK_NB) == 0)
      ::unlinkat(at, entry->d_name, 0);
    ::close(fd);
  }
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  if (bytes == 0) return;
  if (buffer_.size() + bytes > buffer_size) {
    write_out(buffer_.data(), buffer_.size());
    buffer_.clear();
  }
  if (bytes > buffer_size)
    write_out(static_cast<const char*>(data), bytes);
  else
    buffer_.append(static_cast<const char*>(data), bytes);
}

void AtomicFile::write_out(const char* data, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = ::write(fd_, data, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) failed("cannot be written");
    data += n;
    bytes -= static_cast<std::size_t>(n);
  }
}

void AtomicFile::commit() {
  write_out(buffer_.data(), buffer_.size());
  buffer_.clear();
  if (target_.empty()) {
    if (::close(std::exchange(fd_, -1)) != 0) failed("cannot be closed");
    return;
  }
  if (::fsync(fd_) != 0) failed("cannot be flushed to disk");
  // Some file systems report a failed write when the file is closed, so it is closed before it is renamed.
  // The copy of the descriptor keeps the lock until then.
  const int lock = ::fcntl(fd_, F_DUPFD_CLOEXEC, 0);
  if (lock < 0) failed("cannot be closed");
  const bool closed = ::close(std::exchange(fd_, -1)) == 0;
  fd_ = lock;
  if (!closed) failed("cannot be closed");
  if (::rename(name_.c_str(), target_.c_str()) != 0) failed("cannot be put in place");
  name_.clear();
  const int directory = ::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) {
    if (errno == EACCES) return;  // a directory that may be written but not listed
    failed("is written, but its directory cannot be opened to be flushed to disk");
  }
  const int error = ::fsync(directory) == 0 ? 0 : errno;
  ::close(directory);
  errno = error;
  // Some file systems cannot flush a directory (EINVAL).
  if (error != 0 && error != EINVAL) failed("is written, but its directory cannot be flushed to disk");
}

void AtomicFile::failed(std::string_view what) const {
  fail<IoError>(op_, ": ", asked_.string(), " ", what, ": ", std::generic_category().message(errno));
}

}  // namespace bobbin
