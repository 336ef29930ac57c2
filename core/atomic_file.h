// Writing a file whole or not at all.
#pragma once
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace bobbin {

/// A file beside `target` that takes its name when it is complete; until then the target is as it was, and
/// what was written goes away with this object. `op` begins the message of each IoError.
class AtomicFile {
 public:
  /// Throws IoError where no file can be made there, or the target is there and no regular file (to rename
  /// onto a device such as /dev/null would replace it).
  AtomicFile(std::string_view op, const std::filesystem::path& target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  /// Puts the file in place, on disk: its bytes, then its name.
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
