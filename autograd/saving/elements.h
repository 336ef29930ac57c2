// Elements of other programs' files: which dtype holds them, and their conversion.
#pragma once
#include <bobbin/read_options.h>
#include <bobbin/tensor.h>

#include <optional>
#include <string>

namespace bobbin {

/// The type of elements in a file.
struct ElementType {
  char kind;             ///< 'f' float, 'g' bf16, 'i' signed, 'u' unsigned integer, 'b' bool
  int size;              ///< in bytes
  bool swapped = false;  ///< big-endian
};

/// The dtype of the tensor that holds such elements, if there is one; with options.convert, a wider one too.
std::optional<DType> dtype_for(const ElementType&, const ReadOptions&);

/// Whether the bytes of the file are those of the tensor.
bool same_bytes(const ElementType&, DType);

/// Turns n elements of a file, at `from`, into elements of the dtype. `from` and `to` may be the same where
/// sizes are. Throws FormatError that begins with `where` for a number that the dtype does not hold, and for
/// a bool that is neither 0 nor 1 unless options.convert is set.
void take_elements(const std::string& where, const ElementType&, const char* from, std::size_t n, DType,
                   char* to, const ReadOptions&);

}  // namespace bobbin
