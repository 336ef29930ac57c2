// Follows symbolic links to the file that is to be written, and opens what is no regular file.
#include "core/output_path.h"

#include <bobbin/error.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <climits>
#include <system_error>

namespace bobbin {
namespace {

namespace fs = std::filesystem;

/// N for /dev/fd/N, /proc/self/fd/N and names of the same place; -1 for other paths.
int own_descriptor(const fs::path& path) {
  const std::string name = path.filename().string();
  int n = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), n);
  if (error != std::errc() || end != name.data() + name.size() || n < 0) return -1;
  std::error_code code;
  const fs::path here = fs::canonical(path.parent_path(), code);
  if (code) return -1;
  const fs::path own = fs::canonical("/proc/self/fd", code);
  return !code && here == own ? n : -1;
}

[[noreturn]] void failed(std::string_view op, const fs::path& path, int error) {
  fail<IoError>(op, ": ", path.string(), " cannot be written: ", std::generic_category().message(error));
}

}  // namespace

OutputPath output_path(std::string_view op, const fs::path& path) {
  if (path.empty()) failed(op, path, ENOENT);
  fs::path target = path;
  for (int links = 0;; ++links) {
    if (const int n = own_descriptor(target); n >= 0) {
      const int copy = ::fcntl(n, F_DUPFD_CLOEXEC, 0);
      if (copy < 0) failed(op, path, errno);
      return {{}, copy};
    }
    char text[PATH_MAX];
    const ssize_t length = ::readlink(target.c_str(), text, sizeof text);
    if (length < 0) break;  // no link
    if (links == 40) failed(op, path, ELOOP);
    target = target.parent_path() / fs::path(std::string(text, static_cast<std::size_t>(length)));
  }
  struct stat status {};
  if (::stat(target.c_str(), &status) != 0) {
    if (errno != ENOENT) failed(op, path, errno);
    return {target, -1};
  }
  if (S_ISREG(status.st_mode)) return {target, -1};
  if (S_ISDIR(status.st_mode))
    fail<IoError>(op, ": ", path.string(), " is not a regular file: it is a directory");
  const int stream = ::open(target.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (stream < 0) failed(op, path, errno);
  ::fcntl(stream, F_SETFL, ::fcntl(stream, F_GETFL) & ~O_NONBLOCK);  // writing may wait, opening may not
  return {{}, stream};
}

}  // namespace bobbin
