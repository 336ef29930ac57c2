// The activation of a layer in CUDA kernels.
#pragma once
#include "ops/elementwise/layer_activation.h"

namespace bobbin::cuda {

/// Applies it to each element of v.
template<class T, int n>
__device__ void activate(T (&v)[n], Activation activation) {
  visit_activation(activation, [&v](auto f) {
#pragma unroll
    for (int k = 0; k < n; ++k) v[k] = f(v[k]);
  });
}

}  // namespace bobbin::cuda
