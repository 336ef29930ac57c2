// NumPy arrays as bytes.
#pragma once
#include <bobbin/tensor.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace bobbin {

/// The whole file. Throws IoError, beginning with op.
std::string read_file(std::string_view op, const std::filesystem::path&);
/// Throws DTypeError, beginning with op, for bf16.
std::string npy_bytes(std::string_view op, const Tensor&);
/// Throws FormatError that names the file.
Tensor npy_tensor(const std::string& name, std::string_view bytes);

}  // namespace bobbin
