// The safetensors format: named tensors in one file, as the Python package of that name reads and writes it.
#pragma once
#include <bobbin/tensor.h>

#include <filesystem>
#include <map>
#include <string>

namespace bobbin {

/// The contents of a safetensors file.
struct TensorFile {
  std::map<std::string, Tensor> tensors;        ///< by name
  std::map<std::string, std::string> metadata;  ///< the header's "__metadata__"
};

/// Writes atomically: a temporary file in the same directory, flushed to disk, then renamed. Throws IoError.
void save_safetensors(const std::filesystem::path&, const TensorFile&);
/// Reads a whole file into CPU tensors. Throws IoError, and FormatError with the file's name and the error.
TensorFile load_safetensors(const std::filesystem::path&);
/// Maps the file into memory: elements are read from it when they are first accessed, and edits are not
/// written to it. The file must not be changed in place as long as a tensor uses it; another file may be
/// renamed over it, as save_safetensors does. Tensors that are not aligned in the file are copied. Throws as
/// load_safetensors does.
TensorFile map_safetensors(const std::filesystem::path&);

}  // namespace bobbin
