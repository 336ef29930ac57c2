// The public activation functions.
#include "ops/elementwise/activation.h"

namespace bobbin {

Tensor relu(const Tensor& x) { return record(Relu{}, {x}); }
Tensor leaky_relu(const Tensor& x, double slope) { return record(LeakyRelu{{{slope}}}, {x}); }
Tensor elu(const Tensor& x, double alpha) { return record(Elu{{{alpha}}}, {x}); }
Tensor sigmoid(const Tensor& x) { return record(Sigmoid{}, {x}); }
Tensor silu(const Tensor& x) { return record(Silu{}, {x}); }
Tensor softplus(const Tensor& x) { return record(Softplus{}, {x}); }
Tensor gelu(const Tensor& x, Gelu form) {
  return form == Gelu::erf ? record(GeluErf{}, {x}) : record(GeluTanh{}, {x});
}

}  // namespace bobbin
