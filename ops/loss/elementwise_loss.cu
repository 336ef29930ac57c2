// Elementwise losses on a GPU.
#include "ops/elementwise/map.cuh"
#include "ops/loss/elementwise_loss.h"

namespace bobbin {
BOBBIN_LOSS_OPS(BOBBIN_INSTANTIATE_CUDA)
}  // namespace bobbin
