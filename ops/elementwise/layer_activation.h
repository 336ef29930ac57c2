// The activation of a linear or convolutional layer: the function, and its derivative.
#pragma once
#include <bobbin/activation.h>
#include <bobbin/op.h>

#include <functional>

#include "ops/elementwise/functors.h"

namespace bobbin {

/// Calls f with the functor of the activation. For host code and for kernels.
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

/// Applies `a` to each element of v, in a kernel.
template<class T, int n>
BOBBIN_HD constexpr void activate(T (&v)[n], Activation a) {
  visit_activation(a, [&v](auto f) {
    for (int k = 0; k < n; ++k) v[k] = f(v[k]);
  });
}

/// Whether kernels apply the derivative of `a` when they read a gradient: for relu they read 0 where the
/// output is not positive, and for none the gradient itself.
constexpr bool is_relu_or_none(Activation a) { return a == Activation::relu || a == Activation::none; }

/// Whether the derivative of `a` is computed from its input, the layer's sums, and not from its output.
constexpr bool needs_sums(Activation a) { return a == Activation::gelu || a == Activation::silu; }

/// The tensors that a layer keeps for its derivative. Its inputs are x, weight and, if given, bias.
Saves saved_by_layer(Needs, Activation);

/// The gradient of the layer's sums, which are the input of its activation. sums() computes the sums again,
/// if the activation needs them.
Tensor sums_gradient(const Vjp&, Activation, const std::function<Tensor()>& sums);

}  // namespace bobbin
