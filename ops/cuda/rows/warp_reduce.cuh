// Reductions over the lanes of a warp, by shuffles in a fixed order, and over the elements of one thread.
#pragma once
#include "ops/cuda/rows/packed.cuh"

namespace bobbin::cuda {

// Each reduces over lanes whose numbers differ only in the bits from `from` to `lanes` / 2 (powers of two):
// with from = 1, over `lanes` neighbours. All these lanes get the same bits.
template<class C>
__device__ __forceinline__ C warp_max(C v, int lanes, int from = 1) {
  for (int w = lanes >> 1; w >= from; w >>= 1) v = larger(v, __shfl_xor_sync(~0u, v, w));
  return v;
}
template<class C>
__device__ __forceinline__ C warp_sum(C v, int lanes, int from = 1) {
  for (int w = lanes >> 1; w >= from; w >>= 1) v += __shfl_xor_sync(~0u, v, w);
  return v;
}
/// Several sums at the same time.
template<class C, int n>
__device__ __forceinline__ void warp_sums(C (&v)[n], int lanes) {
  for (int w = lanes >> 1; w > 0; w >>= 1)
#pragma unroll
    for (int i = 0; i < n; ++i) v[i] += __shfl_xor_sync(~0u, v[i], w);
}
/// A sum in double, for long rows.
template<class C>
__device__ __forceinline__ C warp_sum_in_double(C v, int lanes, int from = 1) {
  return static_cast<C>(warp_sum(static_cast<double>(v), lanes, from));
}

/// The sum of the elements of one thread, added as a tree. Overwrites them.
template<class C, int n>
__device__ __forceinline__ C sum_of(C (&v)[n]) {
#pragma unroll
  for (int width = n / 2; width > 0; width /= 2)
#pragma unroll
    for (int i = 0; i < width; ++i) v[i] += v[i + width];
  return v[0];
}

}  // namespace bobbin::cuda
