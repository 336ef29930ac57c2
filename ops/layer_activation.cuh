// The activation of a layer in a kernel.
#pragma once
#include <bobbin/activation.h>

#include "functors.h"

namespace bobbin::cuda {

/// Applies it to all of v.
template<class T, int n>
__device__ void activate(T (&v)[n], Activation activation) {
  const auto map = [&v](auto f) {
#pragma unroll
    for (int k = 0; k < n; ++k) v[k] = f(v[k]);
  };
  switch (activation) {
    case Activation::none:
      return;
    case Activation::relu:
      return map(fn::Relu{});
    case Activation::gelu:
      return map(fn::GeluErf{});
    case Activation::tanh:
      return map(fn::Tanh{});
    case Activation::sigmoid:
      return map(fn::Sigmoid{});
    case Activation::silu:
      return map(fn::Silu{});
  }
}

}  // namespace bobbin::cuda
