// Matrix products on a GPU, through cuBLASLt. No CUDA header in here.
#pragma once
#include <bobbin/device.h>
#include <bobbin/dtype.h>

#include <cstdint>
#include <string_view>

namespace bobbin::cuda {

/// A matrix in memory: element (i, j) at data[i * stride + j], or data[j * stride + i] when transposed. The
/// next one of a batch begins `next` elements further on; 0: all are this one.
struct Operand {
  const void* data;
  std::int64_t stride;
  bool transposed = false;
  std::int64_t next = 0;
};

/// What a product does besides, with a vector of the dtype of y.
enum class Epilogue : std::uint8_t {
  none,
  relu,
  bias,       ///< adds the vector to each row of y
  bias_relu,  ///< then max(y, 0), where NaN may become 0
  row_sums    ///< writes the sum of each row of a to the vector
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
  Epilogue epilogue = Epilogue::none;
  void* vector = nullptr;
  std::int64_t batch = 1, y_next = 0;
};

/// Enqueues a product. The same call gives the same bits. False, and nothing is done, where cuBLAS has no
/// kernel with that epilogue. Throws CudaError, OutOfMemory.
bool multiply(std::string_view op, Device, const Product&);

}  // namespace bobbin::cuda
