// Products of matrices, and of batches of them.
#pragma once
#include <bobbin/matmul.h>
#include <bobbin/op.h>

#include <optional>

namespace bobbin {

/// How a matrix lies in memory: element (i, j) at i * stride + j, or at j * stride + i when transposed.
struct MatrixLayout {
  std::int64_t stride;
  bool transposed;
};
/// Of the last two axes of x; nothing where neither runs through neighbouring elements.
std::optional<MatrixLayout> layout_of(const Tensor& x);
/// x as matrices of dtype d that products can read: itself where layout_of knows it, else a copy.
Tensor readable(const Tensor& x, DType d);

/// The axes before the last two.
Shape batch_of(const Tensor& x);
/// By how many elements of x one step along axis d of the broadcast batch moves.
std::int64_t batch_stride(const Tensor& x, const Shape& batch, int d);
/// Where matrix number i of the broadcast batch begins, in elements from x's first.
std::int64_t batch_offset(const Tensor& x, const Shape& batch, std::int64_t i);

/// Operands of at least two dimensions; the axes before those broadcast.
struct Matmul {
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

}  // namespace bobbin
