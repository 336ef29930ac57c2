// Products of matrices, and of batches of them.
#pragma once
#include <bobbin/matmul.h>
#include <bobbin/op.h>

#include <optional>

namespace bobbin {

/// The layout of a matrix: element (i, j) is at i * stride + j, or at j * stride + i if it is transposed.
struct MatrixLayout {
  std::int64_t stride;
  bool transposed;
};
/// The layout of the last two axes of x; nullopt if neither axis has stride 1.
std::optional<MatrixLayout> layout_of(const Tensor& x);
/// x itself if it has dtype d and a MatrixLayout, else a row-major copy of dtype d.
Tensor readable(const Tensor& x, DType d);

/// The axes before the last two.
Shape batch_of(const Tensor& x);
/// The stride of x along axis d of the broadcast batch: 0 where x is broadcast.
std::int64_t batch_stride(const Tensor& x, const Shape& batch, int d);
/// The offset of x's matrix number i of the broadcast batch, in elements.
std::int64_t batch_offset(const Tensor& x, const Shape& batch, std::int64_t i);

/// Operands of at least two dimensions; the axes before those broadcast.
struct Matmul {
  bool wide = false;  ///< the result of 16-bit operands is f32, as it is summed
  static constexpr std::string_view name = "matmul";
  static constexpr Strided strided = Strided::all;
  static constexpr Saves saves(Needs needs) {
    return (needs[0] ? Saves::input(1) : Saves::none) | (needs[1] ? Saves::input(0) : Saves::none);
  }
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// matmul of operands of at least two dimensions, whose result is f32 for 16-bit operands.
Tensor wide_matmul(const Tensor& a, const Tensor& b);

}  // namespace bobbin
