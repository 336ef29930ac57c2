// Derivatives of elementwise functions on a GPU.
#include "ops/elementwise/activation.h"
#include "ops/elementwise/binary.h"
#include "ops/elementwise/map.cuh"

namespace bobbin {
BOBBIN_BACKWARD_OPS(BOBBIN_INSTANTIATE_CUDA)
#define BOBBIN_INSTANTIATE_BACKWARD(Kind, Op) \
  template void Binary<Backward<Op>, fn::Derivative<fn::Op>>::cuda(Inputs, Tensor&) const;
BOBBIN_SMOOTH_OPS(BOBBIN_INSTANTIATE_BACKWARD)
}  // namespace bobbin
