// The products of product.cuh by mma.sync, of any GPU from compute capability 8.0 on.
#pragma once
#include "core/cuda/ptx_wgmma.cuh"
#include "ops/cuda/tiles/fragments.cuh"

#ifndef BOBBIN_HAS_WGMMA
namespace bobbin::cuda::tiles {

/// Where the row of a tile begins whose address this lane passes to ldmatrix. Of the four matrices, the
/// second lies below the first (`down`) or beside it. Steps of 16 columns XOR the address with multiples
/// of 32.
template<bool down>
__device__ __forceinline__ unsigned lane_address(const char* rows) {
  const unsigned lane = threadIdx.x % 32, m = lane / 8, r = lane % 8;
  const unsigned below = down ? m % 2 : m / 2, beside = down ? m / 2 : m % 2;
  return ptx::shared_address(rows) + (below * 8 + r) * 128 + (beside ^ r) * 16;
}

template<class T, int rows, int columns>
struct Rows<Tile<T, rows, columns>> {
  unsigned lane;
  __device__ Rows(const Tile<T, rows, columns>& t, int row) : lane(lane_address<true>(t.data + row * 128)) {}
  __device__ __forceinline__ void get(unsigned (&out)[4], int step) const {
    ptx::ldmatrix_x4(out, (lane ^ (step % 4 * 32)) + step / 4 * rows * 128);
  }
};

template<class T>
__device__ __forceinline__ void mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  if constexpr (std::is_same_v<T, Half>)
    ptx::mma_m16n8k16_f16(c, a, b0, b1);
  else
    ptx::mma_m16n8k16_bf16(c, a, b0, b1);
}

template<class A, int n, class T, int columns>
__device__ __forceinline__ void product_transposed(Accumulator<n>& c, const A& a,
                                                   const Tile<T, 8 * n, columns>& b) {
  const unsigned lane = lane_address<false>(b.data);
  c.clear();
#pragma unroll
  for (int s = 0; s < columns / 16; ++s) {
    unsigned left[4], right[4];
    a.get(left, s);
#pragma unroll
    for (int j = 0; j < n / 2; ++j) {
      ptx::ldmatrix_x4(right, (lane ^ (s % 4 * 32)) + s / 4 * (8 * n * 128) + j * 16 * 128);
      mma<T>(c.x[2 * j], left, right[0], right[1]);
      mma<T>(c.x[2 * j + 1], left, right[2], right[3]);
    }
  }
}

template<class A, int n, class T, int rows>
__device__ __forceinline__ void add_product(Accumulator<n>& c, const A& a, const Tile<T, rows, 8 * n>& b) {
  const unsigned lane = lane_address<true>(b.data);
#pragma unroll
  for (int s = 0; s < rows / 16; ++s) {
    unsigned left[4], right[4];
    a.get(left, s);
#pragma unroll
    for (int j = 0; j < n / 2; ++j) {
      ptx::ldmatrix_x4_trans(right, (lane ^ (j % 4 * 32)) + j / 4 * (rows * 128) + s * 16 * 128);
      mma<T>(c.x[2 * j], left, right[0], right[1]);
      mma<T>(c.x[2 * j + 1], left, right[2], right[3]);
    }
  }
}

}  // namespace bobbin::cuda::tiles
#endif
