// The derivatives of layers' activations, and the tensors that they read.
#include "ops/elementwise/layer_activation.h"

#include "ops/elementwise/activation.h"

namespace bobbin {

// tanh, sigmoid and relu compute their slope from the output; gelu and silu from the sums, computed again.
Saves saved_by_layer(Needs needs, Activation a) {
  if (needs_sums(a)) return Saves::inputs;
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
      return v.grad * (1 - square(v.output()));
    case Activation::sigmoid: {
      const Tensor y = v.output();
      return v.grad * (y * (1 - y));
    }
    case Activation::gelu:
      return backward_of<GeluErf>({}, v.grad, sums());
    case Activation::silu:
      break;
  }
  return backward_of<Silu>({}, v.grad, sums());
}

}  // namespace bobbin
