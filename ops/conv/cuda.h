// The two algorithms of convolutions on a GPU, between which cuda.cu chooses. All tensors are row-major, and
// none is empty.
#pragma once
#include "ops/conv/conv.h"

namespace bobbin::cuda {

// Products of im2col columns by cuBLASLt (im2col.cu): for any dtype and stride.

/// y may have the compute type of x's dtype, so that it is not rounded yet.
void im2col_forward(std::string_view op, const ConvShape&, const Tensor& x, const Tensor& weight,
                    const Tensor& y);
/// For a pointwise convolution, x may have the compute type of g's dtype, and no bias is added. Else a bias,
/// where it is defined, is added to each channel of x.
void im2col_input_grad(std::string_view op, const ConvShape&, const Tensor& g, const Tensor& weight,
                       const Tensor& bias, const Tensor& x);
void im2col_weight_grad(std::string_view op, const ConvShape&, const Tensor& x, const Tensor& g,
                        const Tensor& weight);

// Implicit GEMM (implicit_gemm.cu, implicit_weight_grad.cu): for f32 products, unless TF32 is allowed.

/// Whether sizes and dtype suit implicit GEMM, and cuBLAS is not faster.
bool can_be_implicit(const ConvShape&, DType);

// These return false, and do nothing, where can_be_implicit() is false or a block would need more shared
// memory than there is.

/// y = relu(x * weight + bias); no bias if it is undefined, and no relu if `relu` is false.
bool implicit_forward(std::string_view op, const ConvShape&, const Tensor& x, const Tensor& weight,
                      const Tensor& bias, bool relu, const Tensor& y);

/// The gradient of x, for stride 1 (else returns false), and those of the weight and, where it is defined, of
/// the bias. g is the cotangent of the output; where a gate (the output of relu) is given, g counts as 0
/// where the gate is not positive. implicit_input_grad adds a bias, if given, to each channel of x.
bool implicit_input_grad(std::string_view op, const ConvShape&, const Tensor& g, const Tensor& gate,
                         const Tensor& weight, const Tensor& bias, const Tensor& x);
bool implicit_weight_grad(std::string_view op, const ConvShape&, const Tensor& x, const Tensor& g,
                          const Tensor& gate, const Tensor& weight, const Tensor& bias);

}  // namespace bobbin::cuda
