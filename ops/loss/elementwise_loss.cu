// Elementwise losses on a GPU.
#include "ops/elementwise/map.cuh"
#include "ops/loss/elementwise_loss.h"

namespace bobbin {
#define BOBBIN_CUDA(Kind, Op) template void Kind<Op, fn::Op>::cuda(Inputs, Tensor&) const;
BOBBIN_CUDA(Binary, SquaredError)
BOBBIN_CUDA(Binary, AbsoluteError)
BOBBIN_CUDA(Binary, Huber)
BOBBIN_CUDA(Binary, BceWithLogits)
BOBBIN_CUDA(Binary, KlDiv)
#undef BOBBIN_CUDA
}  // namespace bobbin
