// Reading data sets from files.
#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

namespace bobbin {

/// An array of bytes as an IDX file holds it: row-major, dims.size() dimensions.
struct IdxArray {
  std::vector<std::int64_t> dims;
  std::vector<std::uint8_t> bytes;
};

/// Reads an IDX file of unsigned bytes (the format of MNIST), plain or gzip; the file's first bytes tell
/// which. `expected_rank` is the number of dimensions it must have, 0 for any.
/// Memory grows with what the file really holds, not with what its header claims.
/// Throws FormatError when the contents are not exactly one such array (another element type, another rank,
/// too few or too many bytes, a damaged gzip stream); IoError when `path` is not a readable regular file;
/// ValueError when expected_rank is outside [0, 255].
IdxArray read_idx(const std::filesystem::path& path, int expected_rank = 0);

}  // namespace bobbin
