// Activation functions on a GPU.
#include "ops/elementwise/activation.h"
#include "ops/elementwise/map.cuh"

namespace bobbin {
BOBBIN_ACTIVATION_OPS(BOBBIN_INSTANTIATE_CUDA)
}  // namespace bobbin
