// Matrix products.
#pragma once
#include <bobbin/activation.h>
#include <bobbin/tensor.h>

namespace bobbin {

/// [..., n, k] x [..., k, m] -> [..., n, m]; leading axes broadcast. A 1-dimensional operand is a row on the
/// left, a column on the right, and the result has no axis for it. Transposed views are read in place.
/// Floating dtypes. f32 products are computed in f32 (but see allow_tf32); 16-bit products are summed in f32.
/// Long f32 sums are divided (on the CPU above 8192 terms, on a GPU above 65536): no running sum drifts.
/// Throws ShapeError, DTypeError.
Tensor matmul(const Tensor& a, const Tensor& b);

/// Whether f32 products on a GPU may round their inputs to TF32 (10 bits of mantissa), which is several times
/// as fast on tensor cores. For the whole process; false at first. No effect on the CPU and on other dtypes.
void allow_tf32(bool);
/// The argument of the last allow_tf32; false at first.
bool tf32_allowed();

/// activation(x W^T + b) in one operation: x [..., in], W [out, in], b [out] or undefined -> [..., out].
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, Activation = Activation::none);

}  // namespace bobbin
