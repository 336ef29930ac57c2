// Attention on a GPU for bf16.
#include "ops/attention/launch.cuh"

namespace bobbin::cuda {
template void run_attention<BFloat16>(Device, int, bool, const AttentionArgs&);
}
