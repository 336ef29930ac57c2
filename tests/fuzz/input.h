// What all fuzz targets share: the bytes as a file, and the exceptions that a reader may throw.
#pragma once
#include <bobbin/error.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>

namespace bobbin::fuzz {

/// Calls read(path) with a file of these bytes, which is in memory alone. An exception of Bobbin is an
/// answer; any other ends the program, as a crash does.
template<class Read>
int run(const std::uint8_t* data, std::size_t size, Read&& read) {
  static const int file = ::memfd_create("fuzz", MFD_CLOEXEC);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);
  if (::ftruncate(file, 0) != 0 || ::pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) return -1;
  try {
    read(std::filesystem::path(path));
  } catch (const Error&) {
  }
  return 0;
}

}  // namespace bobbin::fuzz
