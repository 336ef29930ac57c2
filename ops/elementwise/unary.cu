// Functions of one number on a GPU.
#include "ops/elementwise/map.cuh"
#include "ops/elementwise/unary.h"

namespace bobbin {
BOBBIN_UNARY_OPS(BOBBIN_INSTANTIATE_CUDA)
}  // namespace bobbin
