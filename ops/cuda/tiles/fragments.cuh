// What a warp keeps of matrices in its registers: 16 rows of a sum, and of a left factor, as mma.sync and
// wgmma spread them over the lanes.
#pragma once
#include "ops/cuda/tiles/tile.cuh"

namespace bobbin::cuda::tiles {

/// 16 x 8 n numbers of a warp: lane 4 r + c holds, of rows r and r + 8, columns 8 j + 2 c and 8 j + 2 c + 1,
/// in x[j][0..1] and x[j][2..3].
template<int n>
struct Accumulator {
  float x[n][4];
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int j = 0; j < n; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) x[j][i] = 0;
  }
};
/// The row among the warp's 16, for half 0 or 1, and the first of the two columns, of x[j][2 half].
__device__ __forceinline__ int row_of(int half) { return static_cast<int>(threadIdx.x) % 32 / 4 + 8 * half; }
__device__ __forceinline__ int column_of(int j) { return 8 * j + static_cast<int>(threadIdx.x) % 4 * 2; }

/// A left factor of 16 x k elements: pairs of adjacent elements, those of 16 columns in a[step].
template<class T, int k>
struct Registers {
  unsigned a[k / 16][4];
  __device__ __forceinline__ void get(unsigned (&out)[4], int step) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = a[step][i];
  }
};
/// A left factor that is 16 rows of a tile, from `row` on, and is read from there at each use.
template<class Tile>
struct Rows;

/// The numbers of an accumulator, rounded to T, as a left factor.
template<class T, int n>
__device__ __forceinline__ Registers<T, 8 * n> rounded(const Accumulator<n>& c) {
  Registers<T, 8 * n> r;
#pragma unroll
  for (int j = 0; j < n; ++j)
#pragma unroll
    for (int i = 0; i < 4; i += 2)
      r.a[j / 2][j % 2 * 2 + i / 2] = std::is_same_v<T, Half> ? ptx::cvt_rn_f16x2(c.x[j][i], c.x[j][i + 1])
                                                              : ptx::cvt_rn_bf16x2(c.x[j][i], c.x[j][i + 1]);
  return r;
}

}  // namespace bobbin::cuda::tiles
