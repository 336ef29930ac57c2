// Convolutions of stride 1 on the CPU, without a matrix of columns: once an image has its padding, the row of
// that matrix that belongs to an element of the kernel is the image itself, from another place on. What then
// comes out behind each row of the result is nothing, and is left out. f32 and f64; all tensors are
// row-major.
#pragma once
#include "ops/conv/conv.h"

namespace bobbin {

/// y = x * weight + bias, where there is one, and then relu, where wanted.
template<class T>
void shift_forward(const ConvShape&, const Tensor& x, const Tensor& weight, const Tensor& bias, bool relu,
                   const Tensor& y);

/// The gradients: g counts as 0 where a gate, if there is one, is not positive. A bias is added to that of x.
/// The one of a bias, the sums of g, comes with that of the weight, where it is wanted.
template<class T>
void shift_input_grad(const ConvShape&, const Tensor& g, const Tensor& gate, const Tensor& weight,
                      const Tensor& bias, const Tensor& x);
template<class T>
void shift_weight_grad(const ConvShape&, const Tensor& x, const Tensor& g, const Tensor& gate,
                       const Tensor& weight, const Tensor& bias);

}  // namespace bobbin
