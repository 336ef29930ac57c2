// Products of tiles. A warp computes 16 rows of a result in registers, from 16 rows of a left factor, in
// registers or in shared memory, and a tile that all warps share:
//   product_transposed(c, a, b)   c = a b^T, for all rows of b
//   add_product(c, a, b)          c += a b, for all columns of b
// 16-bit elements are multiplied on tensor cores, by wgmma where the code is compiled for 9.0a and by
// mma.sync elsewhere, with f32 sums. A product may run on while the warp does something else: before a warp
// touches the operands again, it calls wait_products.
#pragma once
#include "ops/cuda/tiles/product_mma.cuh"
#include "ops/cuda/tiles/product_wgmma.cuh"

namespace bobbin::cuda::tiles {

/// Waits for all products but the `running` latest; `c` are the sums of those it waits for.
template<int running = 0, int... n>
__device__ __forceinline__ void wait_products(Accumulator<n>&... c) {
#ifdef BOBBIN_HAS_WGMMA
  ptx::wgmma_wait_group<running>();
  (settle(c), ...);
#endif
}

/// Waits for the copies that all threads of the block started, and for its barrier.
__device__ __forceinline__ void wait_copies() {
  ptx::cp_async_wait_all();
#ifdef BOBBIN_HAS_WGMMA
  ptx::fence_proxy_async();
#endif
  __syncthreads();
}

}  // namespace bobbin::cuda::tiles
