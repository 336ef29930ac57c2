// Writes a file completely or not at all.
#pragma once
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace bobbin {

/// A temporary file beside `target`. commit() renames it to `target`; until then the target is unchanged, and
/// without commit() the temporary file is removed. `op` begins the message of each IoError.
///
/// Symbolic links are followed: the file that they name is replaced, the link stays. A file that is replaced
/// keeps its mode and, where the process may set them, owner and group; a new one gets the mode that the
/// umask leaves. Other hard links keep the old contents. What is no regular file (/dev/stdout, a FIFO with a
/// reader, a device) is written directly, so a failure leaves the part that was written.
///
/// A process that is killed leaves its temporary file; the next AtomicFile for the same target removes it.
/// Each writer holds a lock (flock) on its temporary file, so files of writers that still run are left alone.
class AtomicFile {
 public:
  /// Throws IoError if no file can be made, or if the target is a directory.
  AtomicFile(std::string_view op, const std::filesystem::path& target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends bytes.
  void write(const void* data, std::size_t bytes);
  /// Flushes the bytes to disk, renames the file, and flushes its directory.
  void commit();

 private:
  void create();
  void remove_leftovers() const;
  void write_out(const char* data, std::size_t bytes);
  [[noreturn]] void failed(std::string_view what) const;

  std::string op_;
  std::filesystem::path asked_, target_,
      directory_;       // target_: after links; empty for what is no regular file
  std::string name_;    // of the temporary file
  std::string prefix_;  // of the names of all temporary files for this target
  std::string buffer_;
  int fd_ = -1;
};

}  // namespace bobbin
