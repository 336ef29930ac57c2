// Matrix products.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin {

/// [..., n, k] x [..., k, m] -> [..., n, m]; leading axes broadcast; a 1-dimensional operand is a row on the
/// left, a column on the right, and that axis is dropped from the result. Transposed views are read in place.
/// Floating dtypes. f32 products are f32. Throws ShapeError, DTypeError.
Tensor matmul(const Tensor& a, const Tensor& b);

enum class Activation { none, relu, gelu, tanh, sigmoid, silu };
/// activation(x W^T + b) in one operation: x [..., in], W [out, in], b [out] or undefined -> [..., out].
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, Activation = Activation::none);

}  // namespace bobbin
