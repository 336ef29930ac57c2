// Chooses the launch for a functor's kernels and a shape, and remembers it.
#pragma once
#include <bobbin/device.h>

#include <cstddef>
#include <iterator>

#include "ops/cuda/rows/algorithm.h"

namespace bobbin::cuda {

/// The kernels of a functor whose blocks share rows. The choice asks CUDA how many of their blocks run at the
/// same time.
struct TeamKernels {
  const void* block[std::size(block_packs)];  ///< with so many packs a thread; null where there is none
  const void* two_pass;
  std::size_t stats_bytes;  ///< of the statistics of a row

  const void* kernel(const RowLaunch&, int inputs) const;
};

/// Bytes of dynamic shared memory that the kernel of a launch needs.
std::size_t shared_bytes(const RowLaunch&, const TeamKernels&);

/// The launch for rows of this shape. Each thread remembers those that it used last.
const RowLaunch& cached_launch(Device, const RowShape&, const TeamKernels&);

}  // namespace bobbin::cuda
