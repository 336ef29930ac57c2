// Cross-entropy for targets of one class per row, through the row engine.
#include "ops/loss/cross_entropy_rows.cuh"

namespace bobbin::cuda {
BOBBIN_CROSS_ENTROPY(index)
}  // namespace bobbin::cuda
