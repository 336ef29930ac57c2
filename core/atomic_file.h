// Writes a file completely or not at all.
#pragma once
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace bobbin {

/// A temporary file beside `target`. commit() renames it to `target`; until then the target is unchanged, and
/// without commit() the temporary file is removed. `op` begins the message of each IoError.
class AtomicFile {
 public:
  /// Throws IoError if no file can be made, or if the target exists and is not a regular file (renaming would
  /// replace a device such as /dev/null).
  AtomicFile(std::string_view op, const std::filesystem::path& target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends bytes.
  void write(const void* data, std::size_t bytes);
  /// Flushes the bytes to disk, and then renames the file.
  void commit();

 private:
  [[noreturn]] void failed(std::string_view what) const;
  std::string op_;
  std::filesystem::path target_;
  std::string name_;
  int fd_ = -1;
  bool kept_ = false;
};

}  // namespace bobbin
