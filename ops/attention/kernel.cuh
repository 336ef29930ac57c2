// What the kernels of attention share: the blocks of queries and keys, and the logits.
#pragma once
#include "ops/attention/cuda.h"
#include "ops/cuda/tiles/product.cuh"

namespace bobbin::cuda {

/// A block computes `rows` rows, 16 in each warp, and goes over the other side's rows in steps of `step`.
template<class T, int head_size>
struct AttentionBlock {
  static constexpr int rows = attention_rows, threads = 2 * rows, step = attention_step;
  using Own = tiles::Tile<T, rows, head_size>;
  using Other = tiles::Tile<T, step, head_size>;
  static constexpr int shared_forward = Own::bytes + 4 * Other::bytes;
  static constexpr int shared_backward = attention_shared(head_size);
  static_assert(shared_backward == 2 * Own::bytes + 2 * (2 * Other::bytes + 3 * step * 4));
};

/// Calls f(number, row, column) for each number of an accumulator, whose first is in that row and column.
template<int n, class F>
__device__ __forceinline__ void for_each(tiles::Accumulator<n>& c, int row, int column, F f) {
#pragma unroll
  for (int j = 0; j < n; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      f(c.x[j][i], row + tiles::row_of(i / 2), column + tiles::column_of(j) + i % 2);
}

constexpr float log2_e = 1.4426950408889634f;

/// What scale and mask make of the products of queries and keys of one head.
struct AttentionLogits {
  const AttentionArgs& args;
  std::int64_t mask_base;  ///< of the head
  __device__ AttentionLogits(const AttentionArgs& a, std::int64_t head)
      : args(a), mask_base(head / a.heads * a.mask_stride[0] + head % a.heads * a.mask_stride[1]) {}

  /// The logit of query i and key j, times log2(e).
  __device__ float operator()(float product, int i, int j) const {
    const float x = product * args.log2_scale;
    if (!args.mask || i >= args.l || j >= args.s) return x;
    const std::int64_t at = mask_base + i * args.mask_stride[2] + j * args.mask_stride[3];
    switch (args.mask_dtype) {
      case DType::boolean:
        return static_cast<const bool*>(args.mask)[at] ? x : -INFINITY;
      case DType::f32:
        return fmaf(static_cast<const float*>(args.mask)[at], log2_e, x);
      case DType::f16:
        return fmaf(widen(static_cast<const Half*>(args.mask)[at]), log2_e, x);
      default:
        return fmaf(widen(static_cast<const BFloat16*>(args.mask)[at]), log2_e, x);
    }
  }
};

/// Writes a warp's rows, times `factor`, to row-major `to` of `columns` columns, of which `rows` are left.
template<class T, int n>
__device__ __forceinline__ void store_rows(T* to, const tiles::Accumulator<n>& c, int rows, int columns,
                                           const float (&factor)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = tiles::row_of(half);
    if (row >= rows) continue;
    T* at = to + static_cast<std::int64_t>(row) * columns;
#pragma unroll
    for (int j = 0; j < n; ++j) {
      const int column = tiles::column_of(j);
      Pack<T, 2> pair;
      pair.v[0] = narrow<T>(c.x[j][2 * half] * factor[half]);
      pair.v[1] = narrow<T>(c.x[j][2 * half + 1] * factor[half]);
      if (columns % 2 == 0 && column < columns) {
        *reinterpret_cast<Pack<T, 2>*>(at + column) = pair;
      } else {
        if (column < columns) at[column] = pair.v[0];
        if (column + 1 < columns) at[column + 1] = pair.v[1];
      }
    }
  }
}

}  // namespace bobbin::cuda
