// matmul: its checks, its derivative, and the kernel for the CPU.
#include "ops/matmul/matmul.h"

#include <bobbin/elementwise.h>
#include <bobbin/parallel.h>
#include <bobbin/reduce.h>
#include <bobbin/view.h>

#include <algorithm>
#include <atomic>

#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/cpu/compute_type.h"
#include "ops/cpu/gemm.h"
#include "ops/matmul/autocast.h"

namespace bobbin {
namespace {

std::atomic<bool> tf32 = false;

template<class T>
Matrix<T> matrix_at(const Tensor& x, std::int64_t offset) {
  const MatrixLayout l = *layout_of(x);
  return {x.raw<T>() + offset, x.size(-2), x.size(-1), l.stride, l.transposed};
}

template<class T>
void multiply(const Tensor& a, const Tensor& b, const Tensor& y) {
  const Shape batch = batch_of(y);
  const std::int64_t size = y.size(-2) * y.size(-1);
  if (size == 0) return;
  parallel_for(numel(batch), [&](std::int64_t i) {
    gemm(matrix_at<T>(a, batch_offset(a, batch, i)), matrix_at<T>(b, batch_offset(b, batch, i)),
         y.raw<T>() + i * size);
  });
}

}  // namespace

void allow_tf32(bool on) { tf32 = on; }
bool tf32_allowed() { return tf32; }

// The stride of an axis of size 1 may be anything.
std::optional<MatrixLayout> layout_of(const Tensor& x) {
  const std::int64_t rows = x.size(-2), cols = x.size(-1), down = x.strides()[x.rank() - 2],
                     along = x.strides().back();
  if (rows == 0 || cols == 0) return MatrixLayout{std::max<std::int64_t>(cols, 1), false};
  if (cols > 1 && along == 1 && (rows == 1 || down >= cols))
    return MatrixLayout{rows == 1 ? cols : down, false};
  if ((rows == 1 || down == 1) && (cols == 1 || along >= rows))
    return MatrixLayout{cols == 1 ? rows : along, true};
  if (cols == 1 && down >= 1) return MatrixLayout{down, false};
  return {};
}

Tensor readable(const Tensor& x, DType d) { return x.dtype() == d && layout_of(x) ? x : row_major(x, d); }

Shape batch_of(const Tensor& x) {
  Shape batch;
  for (int i = 0; i + 2 < x.rank(); ++i) batch.push_back(x.shape()[i]);
  return batch;
}

std::int64_t batch_stride(const Tensor& x, const Shape& batch, int d) {
  const int own = d - (batch.size() - (x.rank() - 2));
  return own < 0 || x.shape()[own] == 1 ? 0 : x.strides()[own];
}

std::int64_t batch_offset(const Tensor& x, const Shape& batch, std::int64_t i) {
  std::int64_t offset = 0;
  for (int d = batch.size() - 1; d >= 0; --d) {
    offset += i % batch[d] * batch_stride(x, batch, d);
    i /= batch[d];
  }
  return offset;
}

TensorSpec Matmul::infer(Inputs x) const {
  const Tensor &a = x[0], &b = x[1];
  require_floating(name, a);
  require_same_dtype(name, a, b);
  if (a.rank() < 2 || b.rank() < 2)
    fail<ShapeError>(name, ": expected at least one dimension; got ", a.spec(), " and ", b.spec());
  if (a.size(-1) != b.size(-2))
    fail<ShapeError>(name, ": inner dimensions must agree; got ", a.spec(), " and ", b.spec());
  Shape shape = broadcast(name, batch_of(a), batch_of(b));
  shape.push_back(a.size(-2));
  shape.push_back(b.size(-1));
  return {shape, wide ? compute_type(a.dtype()) : a.dtype(), a.device()};
}

void Matmul::cpu(Inputs x, Tensor& y) const {
  const DType compute = compute_type(y.dtype());
  const Tensor a = readable(x[0], compute), b = readable(x[1], compute);
  in_compute_type(y, [&](const Tensor& out) {
    out.dtype() == DType::f64 ? multiply<double>(a, b, out) : multiply<float>(a, b, out);
  });
}

Grads Matmul::vjp(const Vjp& v) const {
  const DType narrow = v.input(v.needs(0) ? 1 : 0).dtype();
  // The products of a wide cotangent are those of 16-bit factors on a GPU, whose tensor cores take no others.
  // The CPU computes in f32 in any case, and need not round a cotangent that f16 may not hold.
  const bool exact = wide && !v.grad.device().is_cuda();
  const Tensor g = exact ? v.grad : to(v.grad, narrow);
  const auto product = [&](const Tensor& a, const Tensor& b, int i) {
    return to(sum_to(matmul(a, b), v.spec(i).shape), narrow);
  };
  Grads out(2);
  if (v.needs(0)) out[0] = product(g, transpose(to(v.input(1), g.dtype())), 0);
  if (v.needs(1)) out[1] = product(transpose(to(v.input(0), g.dtype())), g, 1);
  return out;
}

Tensor wide_matmul(const Tensor& a, const Tensor& b) { return record(Matmul{.wide = true}, {a, b}); }

Tensor matmul(const Tensor& a, const Tensor& b) {
  if (a.rank() == 0 || b.rank() == 0)
    fail<ShapeError>("matmul: expected at least one dimension; got ", a.spec(), " and ", b.spec());
  if (a.rank() == 1 || b.rank() == 1) {
    const int inner_a = a.rank() - 1, inner_b = b.rank() == 1 ? 0 : b.rank() - 2;
    if (a.shape()[inner_a] != b.shape()[inner_b])
      fail<ShapeError>("matmul: inner dimensions must agree; got ", a.spec(), " and ", b.spec());
    const Tensor y = matmul(a.rank() == 1 ? unsqueeze(a, 0) : a, b.rank() == 1 ? unsqueeze(b, 1) : b);
    const Tensor no_row = a.rank() == 1 ? squeeze(y, -2) : y;
    return b.rank() == 1 ? squeeze(no_row, -1) : no_row;
  }
  // A batch times one matrix is one product of more rows, forward and backward.
  if (a.rank() > 2 && b.rank() == 2 && a.numel() > 0 && a.size(-1) == b.size(0)) {
    Shape shape = a.shape();
    shape[a.rank() - 1] = b.size(1);
    return reshape(matmul(reshape(a, {-1, a.size(-1)}), b), shape);
  }
  return record_autocast(Matmul{}, {a, b});
}

}  // namespace bobbin
