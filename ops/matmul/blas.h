// Matrix products on a GPU: small ones of f32 by a kernel of our own, the others through cuBLASLt. No CUDA
// header in here.
#pragma once
#include <bobbin/device.h>
#include <bobbin/dtype.h>

#include <cstdint>
#include <span>
#include <string_view>

namespace bobbin::cuda {

/// A matrix in memory: element (i, j) at data[i * stride + j], or data[j * stride + i] when transposed. The
/// next one of a batch begins `next` elements further on; 0: all are this one.
struct Operand {
  const void* data;
  std::int64_t stride;
  bool transposed = false;
  std::int64_t next = 0;
  const void* gate = nullptr;  ///< of a: elements count as 0 where this, laid out as `data`, is not positive
};

/// y = a b for a [rows, inner] and b [inner, cols], none of them 0. Operands are f64, f32, bf16 or f16, y is
/// of their dtype or, for the 16-bit ones, f32; 16-bit products are summed in f32.
struct Product {
  std::int64_t rows, cols, inner;
  Operand a, b;
  void* y;
  std::int64_t y_stride;
  DType dtype, y_dtype;
  bool tf32 = false;  ///< f32 operands may be rounded to 10 bits of mantissa
  std::int64_t batch = 1, y_next = 0;
  const void* bias = nullptr;  ///< [cols] of the dtype of y, is added to each row
  bool relu = false;           ///< then y becomes max(y, 0), where NaN stays
  void* row_sums = nullptr;    ///< [rows] of the dtype of y, gets the sum of each row of a; no bias then
};

/// Enqueues a product. The same call gives the same bits. False, and nothing is done, where that takes more
/// than one kernel. Throws CudaError, OutOfMemory.
bool multiply(std::string_view op, Device, const Product&);

/// Enqueues one or two products, none of which needs the other's result, as one kernel. False, and nothing is
/// done, where they are not all of f32 and small enough to be faster that way than each through cuBLAS.
bool multiply_small(std::string_view op, Device, std::span<const Product>);

}  // namespace bobbin::cuda
