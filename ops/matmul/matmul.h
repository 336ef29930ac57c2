// Matrix products, alone and as a layer.
#pragma once
#include <bobbin/ops.h>

#include <optional>

#include "core/strided_copy.h"
#include "ops/check.h"

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

/// Runs f on y, or on a stand-in of its compute type, which is then rounded into y.
template<class F>
void in_compute_type(const Tensor& y, F&& f) {
  const DType compute = compute_type(y.dtype());
  if (compute == y.dtype()) return f(y);
  const Tensor wide = empty(y.shape(), compute, y.device());
  f(wide);
  copy_elements(wide, y);
}

/// Operands of at least two dimensions; the axes before those broadcast.
struct Matmul {
  static constexpr std::string_view name = "matmul";
  static constexpr bool strided = true;
  static constexpr Saves saves(Needs needs) {
    return (needs[0] ? Saves::input(1) : Saves::none) | (needs[1] ? Saves::input(0) : Saves::none);
  }
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// Inputs x, weight and, defined or not, bias.
struct Linear {
  Activation activation;
  static constexpr std::string_view name = "linear";
  Saves saves(Needs) const;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();

 private:
  Tensor before_activation(const Vjp&) const;
  /// The gradients on a GPU, where nothing is recorded, in one kernel or two. None, and nothing is done,
  /// where that cannot be. linear.cu
  std::optional<Grads> cuda_vjp(const Vjp&) const;
  /// The gradients on the CPU, where nothing is recorded, side by side. g is the cotangent of the sums. None
  /// where that cannot be.
  static std::optional<Grads> cpu_vjp(const Vjp&, const Tensor& g);
};

}  // namespace bobbin
