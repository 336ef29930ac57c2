// The activation of a layer, linear or convolutional: what it does to sums, and the way back through it.
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

/// What a layer of inputs x, weight and, where given, bias keeps for its derivative.
Saves saved_by_layer(Needs, Activation);

/// The cotangent of the layer's sums. sums() computes them again, where an activation needs that.
Tensor before_activation(const Vjp&, Activation, const std::function<Tensor()>& sums);

}  // namespace bobbin
