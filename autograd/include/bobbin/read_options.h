// What readers of files accept and how much they unpack.
#pragma once
#include <cstdint>

namespace bobbin {

/// How tensors are read from files of other programs.
struct ReadOptions {
  /// Reads dtypes that Bobbin does not hold by conversion, when it keeps every value: i8, i16 and u16 become
  /// i32; u32 and u64 become i64 (FormatError for 2^63 or more); any byte but 0 in a bool is true. Without
  /// it, such tensors are unreadable, and a bool must be 0 or 1.
  bool convert = false;
  /// The number of bytes to which compressed contents may unpack. More are accepted only up to 100 times the
  /// size of the file, so that a small file cannot take minutes and all memory. FormatError beyond.
  std::uint64_t max_unpacked = std::uint64_t{1} << 30;
};

}  // namespace bobbin
