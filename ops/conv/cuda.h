// The two ways of a convolution on a GPU. All tensors are row-major, and none is empty.
#pragma once
#include "ops/conv/conv.h"

namespace bobbin::cuda {

/// By a matrix of columns and cuBLASLt: any dtype and stride. z, where y is not rounded yet, may have the
/// dtype of sums, and so may x where convolutions are products of its images as they are.
void columns_forward(std::string_view op, const ConvShape&, const Tensor& x, const Tensor& weight,
                     const Tensor& z);
/// A bias is added to x where there are columns.
void columns_input_grad(std::string_view op, const ConvShape&, const Tensor& g, const Tensor& weight,
                        const Tensor& bias, const Tensor& x);
void columns_weight_grad(std::string_view op, const ConvShape&, const Tensor& x, const Tensor& g,
                         const Tensor& weight);

/// Without a matrix of columns, for exact products of f32: whether the sizes fit, and cuBLAS is not faster.
bool can_be_implicit(const ConvShape&, DType);
/// That way. False, and nothing is done, where it cannot be, where a block's shared memory is too small, and
/// for the gradient of x with another stride than 1.
/// y = x * weight + bias, where there is one, and then relu, where wanted.
bool implicit_forward(std::string_view op, const ConvShape&, const Tensor& x, const Tensor& weight,
                      const Tensor& bias, bool relu, const Tensor& y);

/// The gradients: g counts as 0 where a gate, if there is one, is not positive. A bias is added to that of x.
/// The one of a bias, the sums of g, comes with that of the weight, where it is wanted.
bool implicit_input_grad(std::string_view op, const ConvShape&, const Tensor& g, const Tensor& gate,
                         const Tensor& weight, const Tensor& bias, const Tensor& x);
bool implicit_weight_grad(std::string_view op, const ConvShape&, const Tensor& x, const Tensor& g,
                          const Tensor& gate, const Tensor& weight, const Tensor& bias);

}  // namespace bobbin::cuda
