// The safetensors format: named tensors in one file, as the Python package of that name reads and writes it.
#pragma once
#include <bobbin/tensor.h>

#include <filesystem>
#include <map>
#include <string>

namespace bobbin {

/// What a safetensors file holds.
struct TensorFile {
  std::map<std::string, Tensor> tensors;        ///< by name
  std::map<std::string, std::string> metadata;  ///< the header's "__metadata__"
};

/// Writes atomically: a temporary file in the same directory, flushed to disk, then renamed. Throws IoError.
void save_safetensors(const std::filesystem::path&, const TensorFile&);
/// Reads a whole file into CPU tensors. Throws IoError, or FormatError naming the file and what is wrong.
TensorFile load_safetensors(const std::filesystem::path&);
/// The same without reading: elements come from the file when they are first touched, and edits of them do
/// not go there. The file must not be changed in place meanwhile; to rename another one over it, as
/// save_safetensors does, is no such change. Tensors that the file does not align are copied.
TensorFile map_safetensors(const std::filesystem::path&);

}  // namespace bobbin
