// Cross-entropy with label smoothing, through the row engine.
#include "ops/loss/cross_entropy_rows.cuh"

namespace bobbin::cuda {
BOBBIN_CROSS_ENTROPY(smoothed)
}  // namespace bobbin::cuda
