// Plain copy kernels. The fastest of them is the ceiling for kernels that only move bytes.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

namespace bench {

/// The parameters of a copy kernel: the number of 16-byte packs that a thread has in flight, and whether they
/// bypass the caches.
struct CopyPlan {
  int threads, packs;
  bool streaming;
  int waves;  ///< blocks per multiprocessor, which loop over tiles; 0: one block per tile
};
/// The parameters that are tried.
std::vector<CopyPlan> copy_plans();

/// Enqueues the copy of a to y or, if b is given, of a ^ b. Copies whole packs: `bytes` is rounded down.
cudaError_t enqueue_copy(const CopyPlan&, const void* a, const void* b, void* y, std::int64_t bytes,
                         cudaStream_t);

}  // namespace bench
