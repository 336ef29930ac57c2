// The safetensors format: named tensors in one file, as the Python package of that name reads and writes it.
#pragma once
#include <bobbin/read_options.h>
#include <bobbin/tensor.h>

#include <filesystem>
#include <map>
#include <string>

namespace bobbin {

/// The contents of a safetensors file.
struct TensorFile {
  std::map<std::string, Tensor> tensors;        ///< by name
  std::map<std::string, std::string> metadata;  ///< the header's "__metadata__"
  /// Tensors that the file has and Bobbin does not hold (another dtype, more dimensions): by name, the
  /// reason.
  std::map<std::string, std::string> unreadable = {};
  /// The tensor of this name. If there is none, throws FormatError, which says why it is unreadable, or
  /// ValueError, which lists names.
  const Tensor& at(const std::string& name) const;
};

/// Writes atomically: a temporary file in the same directory, flushed to disk, then renamed. An existing file
/// keeps its mode, symbolic links are followed, and what is no regular file (/dev/stdout) is written
/// directly. Tensors are in the order of the size of their elements, so that each is aligned in the file.
/// Throws IoError; ValueError for names that are not UTF-8, and for names and metadata of more than the
/// format's 100 MB.
void save_safetensors(const std::filesystem::path&, const TensorFile&);
/// Reads a whole regular file into CPU tensors. A tensor that Bobbin does not hold is left out and named in
/// `unreadable`; if that leaves none, throws FormatError. Throws IoError, and FormatError with the file's
/// name and the error.
TensorFile load_safetensors(const std::filesystem::path&, const ReadOptions& = {});
/// Maps the file into memory: elements are read from it when they are first accessed, and edits are not
/// written to it. The file must not be changed in place as long as a tensor uses it; another file may be
/// renamed over it, as save_safetensors does, also while it is mapped. Tensors that are not aligned in the
/// file, or are converted, are copied. Throws as load_safetensors does.
TensorFile map_safetensors(const std::filesystem::path&, const ReadOptions& = {});

}  // namespace bobbin
