// Products of 16-bit matrices whose sizes or strides are no multiples of 8 elements (16 bytes), through
// copies whose are: cuBLAS's kernels for such products take several times as long.
#pragma once
#include <string_view>

#include "ops/matmul/blas.h"

namespace bobbin::cuda {

/// Whether the copies cost less time than they save.
bool pays_to_pad(const Gemm&);

/// Enqueues a product for which pays_to_pad() is true. Returns false, and does nothing, if cuBLAS has no
/// kernel for what it asks for.
bool multiply_padded(std::string_view op, Device, const Gemm&);

}  // namespace bobbin::cuda
