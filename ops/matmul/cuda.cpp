// matmul on a GPU: as few calls of cuda::multiply as the strides of the batch allow.
#include "core/cuda/backend.h"
#include "core/strided_copy.h"
#include "ops/matmul/blas.h"
#include "ops/matmul/long_product.h"
#include "ops/matmul/matmul.h"

namespace bobbin {
namespace {

cuda::Operand operand(const Tensor& x, std::int64_t next) {
  const MatrixLayout l = *layout_of(x);
  return {x.raw(), l.stride, l.transposed, next};
}

// The last axes of the batch, together `count` matrices, over which the matrices of a, and those of b, are
// evenly spaced: one product computes them all.
struct EvenBatch {
  std::int64_t count = 1, a_step = 0, b_step = 0;

  EvenBatch() = default;  // one matrix
  EvenBatch(const Tensor& a, const Tensor& b, const Shape& batch) {
    for (int d = batch.size() - 1; d >= 0; --d) {
      if (batch[d] == 1) continue;
      const std::int64_t a_stride = batch_stride(a, batch, d), b_stride = batch_stride(b, batch, d);
      if (count == 1) {
        a_step = a_stride;
        b_step = b_stride;
      } else if (a_stride != a_step * count || b_stride != b_step * count) {
        return;
      }
      count *= batch[d];
    }
  }
};

}  // namespace

void Matmul::cuda(Inputs x, Tensor& y) const {
  if (y.numel() == 0) return;
  const std::int64_t rows = y.size(-2), cols = y.size(-1), inner = x[0].size(-1);
  if (inner == 0) return cuda::fill_elements(y, 0);
  const DType dtype = x[0].dtype();
  const Tensor a = readable(x[0], dtype), b = readable(x[1], dtype);
  const Shape batch = batch_of(y);
  const bool is_long = cuda::is_long_product(dtype, tf32_allowed(), inner);
  const EvenBatch even = is_long ? EvenBatch() : EvenBatch(a, b, batch);
  cuda::Gemm p{.rows = rows,
               .cols = cols,
               .inner = inner,
               .a = operand(a, even.a_step),
               .b = operand(b, even.b_step),
               .y = y.raw(),
               .y_stride = cols,
               .dtype = dtype,
               .y_dtype = y.dtype(),
               .tf32 = tf32_allowed(),
               .batch = even.count,
               .y_next = even.count == 1 ? 0 : rows * cols};
  const std::int64_t matrices = numel(batch);
  const auto at = [](const Tensor& t, std::int64_t elements) {
    return t.raw<char>() + elements * size_of(t.dtype());
  };
  for (std::int64_t i = 0; i < matrices; i += even.count) {
    p.a.data = at(a, batch_offset(a, batch, i));
    p.b.data = at(b, batch_offset(b, batch, i));
    p.y = at(y, i * rows * cols);
    if (is_long)
      cuda::multiply_long(name, p, y.alias({rows, cols}, {cols, 1}, i * rows * cols));
    else
      cuda::multiply(name, y.device(), p);
  }
}

}  // namespace bobbin
