// Layers: plain structs of parameters that are called like functions.
#pragma once
#include <bobbin/matmul.h>
#include <bobbin/tensor.h>

namespace bobbin::nn {

/// activation(x W^T + b). W [out, in] and b [out] are drawn uniformly from +-1/sqrt(in), as PyTorch does, and
/// require a gradient.
struct Linear {
  Linear(std::int64_t in, std::int64_t out, bool with_bias = true, DType = DType::f32);
  Tensor operator()(const Tensor& x, Activation activation = Activation::none) const {
    return linear(x, weight, bias, activation);
  }
  Tensor weight, bias;  ///< bias is undefined if left out
};

}  // namespace bobbin::nn
