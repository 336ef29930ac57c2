// The activation of a linear or convolutional layer: the function, and its derivative.
#pragma once
#include <bobbin/activation.h>
#include <bobbin/op.h>

#include <functional>

#include "ops/elementwise/functors.h"

namespace bobbin {

/// Calls f with the function of one number. For host code and for kernels.
template<class F>
constexpr void visit_activation(Activation a, F&& f) {
  switch (a) {
    case Activation::none:
      return f([](auto x) { return x; });
    case Activation::relu:
      return f(fn::Relu{});
    case Activation::gelu:
      return f(fn::GeluErf{});
    case Activation::tanh:
      return f(fn::Tanh{});
    case Activation::sigmoid:
      return f(fn::Sigmoid{});
    case Activation::silu:
      return f(fn::Silu{});
  }
}

/// Whether kernels apply the derivative of `a` as they read a gradient: they take 0 where the output is not
/// positive (relu), or the gradient as it is (none).
constexpr bool is_relu_or_none(Activation a) { return a == Activation::relu || a == Activation::none; }

/// What a layer of inputs x, weight and, where given, bias keeps for its derivative.
Saves saved_by_layer(Needs, Activation);

/// The gradient of the layer's sums, which its activation is applied to. sums() computes them again, where
/// the activation needs that.
Tensor sums_gradient(const Vjp&, Activation, const std::function<Tensor()>& sums);

}  // namespace bobbin
