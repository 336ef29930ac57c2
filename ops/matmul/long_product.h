// Products on a GPU whose sums are so long that one running sum, as cuBLAS forms it, would lose digits.
#pragma once
#include <bobbin/tensor.h>

#include <string_view>

#include "ops/matmul/blas.h"

namespace bobbin::cuda {

/// Whether sums of `inner` terms are to be divided. The error of a running sum in f32 is up to inner * 2^-26
/// of it, where all terms are equal; factors of 16 bits and tf32 have larger errors themselves.
bool is_long_product(DType dtype, bool tf32, std::int64_t inner);

/// The product p, which has no bias, relu, gate, row sums or batch, into the row-major y of p.rows * p.cols
/// elements: many products over parts of `inner` as one batch, then their sums in f64.
void multiply_long(std::string_view op, const Gemm& p, Tensor y);

}  // namespace bobbin::cuda
