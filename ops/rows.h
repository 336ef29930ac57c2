// Runs a kernel over the slices of tensors along one axis, each slice laid out as a contiguous row. CPU only.
#pragma once
#include <bobbin/tensor.h>

#include <functional>
#include <span>

namespace bobbin {

/// Gets the inputs' rows and the output's, `length` elements each, and the slice's number, which counts the
/// other axes in row-major order.
using RowKernel = std::function<void(std::span<const void* const> in, void* out, std::int64_t slice)>;

/// Calls `kernel` for every slice along `axis` of the inputs (1 to 4, contiguous and of one shape), in
/// parallel. Rows are in `compute` type: in place where they lie so already, else through a buffer, so that
/// every layout gives the same bits. Without `out`, the output row is scratch space.
void for_rows(std::span<const Tensor> inputs, const Tensor& out, int axis, DType compute,
              const RowKernel& kernel);

}  // namespace bobbin
