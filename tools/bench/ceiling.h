// The fastest copies of this GPU: what kernels that only move bytes are measured against.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

namespace bench {

/// A way to copy: how many 16-byte packs a thread has in flight, and whether they pass the caches by.
struct CopyPlan {
  int threads, packs;
  bool streaming;
  int waves;  ///< blocks a multiprocessor, which then take tile after tile; 0: a block a tile
};
/// The ways that are tried.
std::vector<CopyPlan> copy_plans();

/// Enqueues the copy of a to y or, where b is given, of a ^ b. Moves whole packs: `bytes` rounded down.
cudaError_t enqueue_copy(const CopyPlan&, const void* a, const void* b, void* y, std::int64_t bytes,
                         cudaStream_t);

}  // namespace bench
