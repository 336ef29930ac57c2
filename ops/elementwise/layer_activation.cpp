// The derivatives of layers' activations, and the tensors that they read.
#include "ops/elementwise/layer_activation.h"

#include "ops/elementwise/activation.h"

namespace bobbin {

// tanh, sigmoid and relu compute their slope from the output; gelu and silu from the sums, computed again.
Saves saved_by_layer(Needs needs, Activation a) {
  if (a == Activation::gelu || a == Activation::silu) return Saves::inputs;
  return (needs[0] ? Saves::input(1) : Saves::none) | (needs[1] ? Saves::input(0) : Saves::none) |
         (a == Activation::none ? Saves::none : Saves::output);
}

Tensor sums_gradient(const Vjp& v, Activation a, const std::function<Tensor()>& sums) {
  switch (a) {
    case Activation::none:
      return v.grad;
    case Activation::relu:
      return record(ReluBackward{}, {v.grad, v.output()});
    case Activation::tanh:
      return v.grad * Tanh::slope(v.output());
    case Activation::sigmoid:
      return v.grad * Sigmoid::slope(v.output());
    case Activation::gelu:
      return v.grad * GeluErf::slope(sums());
    case Activation::silu:
      break;
  }
  return v.grad * Silu::slope(sums());
}

}  // namespace bobbin
