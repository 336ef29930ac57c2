// Matrix products on a GPU: small f32 products by small_product.cuh, the others through cuBLASLt. This header
// includes no CUDA header.
#pragma once
#include <bobbin/device.h>
#include <bobbin/dtype.h>

#include <cstdint>
#include <span>
#include <string_view>

namespace bobbin::cuda {

/// A batch of matrices in memory: element (i, j) at data[i * stride + j], or data[j * stride + i] when
/// transposed. The next matrix begins `next` elements further on; with 0, all are the same one.
struct Operand {
  const void* data;
  std::int64_t stride;
  bool transposed = false;
  std::int64_t next = 0;
  const void* gate = nullptr;  ///< of a: elements count as 0 where this, laid out as `data`, is not positive
};

/// The arguments of a matrix product y = a b, for a [rows, inner] and b [inner, cols], where no size is 0.
/// Operands are f64, f32, bf16 or f16; y has their dtype or, for the 16-bit ones, f32. 16-bit products are
/// summed in f32.
struct Gemm {
  std::int64_t rows, cols, inner;
  Operand a, b;
  void* y;
  std::int64_t y_stride;
  DType dtype, y_dtype;
  bool tf32 = false;  ///< f32 operands may be rounded to 10 bits of mantissa
  std::int64_t batch = 1, y_next = 0;
  const void* bias = nullptr;  ///< [cols], of y's dtype: added to each row
  bool relu = false;           ///< y becomes max(y, 0), and NaN stays NaN
  double scale = 1;            ///< y is scale times the product
  bool accumulates = false;    ///< the product is added to y; without bias, relu and row sums
  void* row_sums = nullptr;  ///< [rows], of y's dtype: written with the sum of each row of a; without a bias
};

/// Enqueues a product. The same call gives the same bits. Returns false, and does nothing, if the bias, relu,
/// gate or row sums that it asks for would take another kernel. Throws CudaError, OutOfMemory.
bool multiply(std::string_view op, Device, const Gemm&);

/// Enqueues one or two independent products as one kernel. Returns false, and does nothing, unless all are of
/// f32 and so small that this is faster than cuBLAS.
bool multiply_small(std::string_view op, Device, std::span<const Gemm>);

}  // namespace bobbin::cuda
