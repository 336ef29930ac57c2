// Chooses the launch for a functor's kernels and a shape, and remembers it.
#pragma once
#include <bobbin/device.h>

#include <cstddef>
#include <iterator>

#include "ops/cuda/rows/algorithm.h"

namespace bobbin::cuda {

/// A functor's kernels in which several blocks may share a row. The choice of a launch asks CUDA how many of
/// their blocks run at the same time.
struct TeamKernels {
  const void* block[std::size(block_packs)];  ///< one for each entry of block_packs
  const void* two_pass;
  std::size_t stats_bytes;  ///< of the statistics of a row

  const void* kernel(const RowLaunch&, int inputs) const;
};

/// Bytes of dynamic shared memory that the kernel of a launch needs.
std::size_t shared_bytes(const RowLaunch&, const TeamKernels&);

/// The launch for rows of this shape. Each host thread caches 64 of them.
const RowLaunch& cached_launch(Device, const RowShape&, const TeamKernels&);

}  // namespace bobbin::cuda
