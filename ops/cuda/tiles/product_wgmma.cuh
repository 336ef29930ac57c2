// The products of product.cuh by wgmma, which four warps start together and which read tiles in the
// background.
#pragma once
#include "core/cuda/ptx_wgmma.cuh"
#include "ops/cuda/tiles/fragments.cuh"

#ifdef BOBBIN_HAS_WGMMA
namespace bobbin::cuda::tiles {

/// What wgmma calls a matrix descriptor, for a place in a tile: the address, the distance of panels (where a
/// product reads several) and that of groups of 8 rows, in units of 16 bytes, and the swizzle of 128 bytes.
__device__ __forceinline__ unsigned long long descriptor(const char* p, int panel) {
  return ptx::shared_address(p) / 16 | static_cast<unsigned long long>(panel / 16) << 16 |
         1024ull / 16 << 32 | 1ull << 62;
}

/// The four warps' 64 rows; `row` is this warp's first.
template<class T, int rows, int columns>
struct Rows<Tile<T, rows, columns>> {
  unsigned long long first;
  __device__ Rows(const Tile<T, rows, columns>& t, int row)
      : first(descriptor(t.data + row / 64 * 64 * 128, 0)) {}
  __device__ __forceinline__ void get(unsigned long long& out, int step) const {
    out = first + (step % 4 * 32 + step / 4 * rows * 128) / 16;
  }
};
template<class A>
struct Step {
  unsigned a[4];
};
template<class T>
struct Step<Rows<T>> {
  unsigned long long a;
};

/// Does nothing, and lets the compiler move no access to the sums across.
template<int n>
__device__ __forceinline__ void settle(Accumulator<n>& c) {
#pragma unroll
  for (int j = 0; j < n; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) ptx::opaque(c.x[j][i]);
}

template<class A, int n, class T, int columns>
__device__ __forceinline__ void product_transposed(Accumulator<n>& c, const A& a,
                                                   const Tile<T, 8 * n, columns>& b) {
  const unsigned long long first = descriptor(b.data, 0);
  ptx::wgmma_fence();
#pragma unroll
  for (int s = 0; s < columns / 16; ++s) {
    Step<A> left;
    a.get(left.a, s);
    const unsigned long long right = first + (s % 4 * 32 + s / 4 * (8 * n * 128)) / 16;
    if constexpr (std::is_same_v<T, Half>)
      s == 0 ? ptx::wgmma_f16<0>(c.x, left.a, right) : ptx::wgmma_add_f16<0>(c.x, left.a, right);
    else
      s == 0 ? ptx::wgmma_bf16<0>(c.x, left.a, right) : ptx::wgmma_add_bf16<0>(c.x, left.a, right);
  }
  ptx::wgmma_commit_group();
}

template<class A, int n, class T, int rows>
__device__ __forceinline__ void add_product(Accumulator<n>& c, const A& a, const Tile<T, rows, 8 * n>& b) {
  const unsigned long long first = descriptor(b.data, rows * 128);
  ptx::wgmma_fence();
#pragma unroll
  for (int s = 0; s < rows / 16; ++s) {
    Step<A> left;
    a.get(left.a, s);
    if constexpr (std::is_same_v<T, Half>)
      ptx::wgmma_add_f16<1>(c.x, left.a, first + s * 16 * 128 / 16);
    else
      ptx::wgmma_add_bf16<1>(c.x, left.a, first + s * 16 * 128 / 16);
  }
  ptx::wgmma_commit_group();
}

}  // namespace bobbin::cuda::tiles
#endif
