// Attention on a GPU for f16.
#include "ops/attention/launch.cuh"

namespace bobbin::cuda {
template void run_attention<Half>(Device, int, bool, const AttentionArgs&);
}
