// Matrix products.
#pragma once
#include <bobbin/activation.h>
#include <bobbin/tensor.h>

namespace bobbin {

/// [..., n, k] x [..., k, m] -> [..., n, m]; leading axes broadcast; a 1-dimensional operand is a row on the
/// left, a column on the right, and that axis is dropped from the result. Transposed views are read in place.
/// Floating dtypes. f32 products are f32 (allow_tf32); 16-bit ones are summed in f32. Throws ShapeError,
/// DTypeError.
Tensor matmul(const Tensor& a, const Tensor& b);

/// Whether f32 products on a GPU may round their inputs to TF32, of 10 bits of mantissa: several times as
/// fast on tensor cores. For the whole process, off at first; the CPU and other dtypes take no notice.
void allow_tf32(bool);
/// What allow_tf32 was last told; false at first.
bool tf32_allowed();

/// activation(x W^T + b) in one operation: x [..., in], W [out, in], b [out] or undefined -> [..., out].
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, Activation = Activation::none);

}  // namespace bobbin
