// Where a file that a program wants to write really goes.
#pragma once
#include <filesystem>
#include <string_view>

namespace bobbin {

/// The target of a path after symbolic links.
struct OutputPath {
  std::filesystem::path file;  ///< a regular file, or a name that nothing has yet; empty for a stream
  int stream =
      -1;  ///< else a descriptor that writes to what is there: a terminal, a pipe, a device; the caller's
};

/// Follows symbolic links, also one to a file that does not exist yet. /dev/stdout and /dev/fd/N give the
/// process's own descriptor, so that output continues where it is. A FIFO must have a reader: nothing waits
/// for one. Throws IoError that begins with op, also for a directory.
OutputPath output_path(std::string_view op, const std::filesystem::path&);

}  // namespace bobbin
