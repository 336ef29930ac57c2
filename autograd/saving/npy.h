// NumPy arrays as bytes.
#pragma once
#include <bobbin/tensor.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace bobbin {

/// The contents of a file. Throws IoError that begins with op.
std::string read_file(std::string_view op, const std::filesystem::path&);
/// A tensor as the bytes of an npy file. Throws DTypeError that begins with op, for bf16.
std::string npy_bytes(std::string_view op, const Tensor&);
/// The tensor of an npy file. Throws FormatError that begins with `name`.
Tensor npy_tensor(const std::string& name, std::string_view bytes);

}  // namespace bobbin
