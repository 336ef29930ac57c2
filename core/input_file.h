// A regular file that is read through one descriptor.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace bobbin {

/// An open regular file. What was opened is what is read: a file that is renamed over the path later changes
/// nothing here, and bytes that are appended after opening are not read. `op` begins the message of each
/// IoError.
class InputFile {
 public:
  /// Never waits for a writer of a FIFO, and never opens a device. Throws IoError unless the path, after
  /// symbolic links, is a regular file that can be read.
  InputFile(std::string_view op, const std::filesystem::path&);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  /// The path, for messages.
  const std::string& name() const { return name_; }
  /// Bytes when it was opened.
  std::uint64_t size() const { return size_; }
  /// The descriptor, which stays this object's.
  int descriptor() const { return fd_; }
  /// Reads up to n bytes from `offset`, and returns their number; fewer mean the end of the file. Throws
  /// IoError.
  std::size_t read_at(std::uint64_t offset, void* out, std::size_t n) const;
  /// The same from where the last read ended.
  std::size_t read(void* out, std::size_t n);

 private:
  [[noreturn]] void failed() const;
  std::string op_, name_;
  std::uint64_t size_ = 0, at_ = 0;
  int fd_ = -1;
};

}  // namespace bobbin
