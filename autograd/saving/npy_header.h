// The header of NumPy's format of one array.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bobbin {

/// The three values of the header's Python dictionary.
struct NpyHeader {
  std::string descr;                ///< "<f4"
  bool fortran = false;             ///< whether the first axis is the one whose elements are neighbours
  std::vector<std::int64_t> shape;  ///< sizes of at least 0
};

/// Reads {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }, keys in any order. Throws FormatError
/// that begins with `where` and says the line and the column of the header.
NpyHeader read_npy_header(const std::string& where, std::string_view text);

}  // namespace bobbin
