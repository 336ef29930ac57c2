// NumPy arrays as bytes.
#pragma once
#include <bobbin/read_options.h>
#include <bobbin/tensor.h>

#include <functional>
#include <string>
#include <string_view>

namespace bobbin {

/// A tensor as the bytes of an npy file. Throws DTypeError that begins with op, for bf16.
std::string npy_bytes(std::string_view op, const Tensor&);
/// Reads the tensor of an npy file of `size` bytes. `read` gives its next bytes, and their number; fewer than
/// were asked for mean the end. No more memory is taken than `size` allows. Throws FormatError that begins
/// with `where`.
Tensor npy_tensor(const std::string& where, std::uint64_t size,
                  const std::function<std::size_t(char*, std::size_t)>& read, const ReadOptions&);

}  // namespace bobbin
