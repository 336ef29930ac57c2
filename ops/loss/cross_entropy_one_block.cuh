// The kernel of cross-entropy for a few short rows: one block computes all steps. A few lanes of a warp hold
// a row in registers. The divisor and the sum of the losses are computed over the block.
#pragma once
#include <bit>

#include "ops/loss/cross_entropy_sums.cuh"

namespace bobbin::cuda {

/// The layout of the block, and whether a call fits in one.
struct OneBlock {
  static constexpr int max_threads = 1024, lane_elements = 8;
  bool fits;
  int lane_bits = 0, threads = 0;

  OneBlock(std::int64_t rows, std::int64_t classes)
      : fits(classes <= 32 * lane_elements && rows <= max_threads) {
    if (!fits) return;
    lane_bits = std::bit_width(static_cast<unsigned>((classes + lane_elements - 1) / lane_elements - 1));
    threads = static_cast<int>((rows << lane_bits) + 31) / 32 * 32;
    fits = threads <= max_threads;
  }
};

/// The divisor of `mean`: the number of rows that are not ignored, or the sum of their weights. `first`:
/// whether this thread is the first lane of a row; y is the row's class.
template<class T>
__device__ __forceinline__ double block_divisor(const CrossEntropyCall<T>& call, bool first, unsigned y,
                                                int lanes) {
  if (!call.weight) return __syncthreads_count(first && y != call.ignored);
  __shared__ double all;
  const double sum =
      block_sum(first && y != call.ignored ? static_cast<double>(call.weight_of(y)) : 0, lanes);
  if (threadIdx.x == 0) all = sum;
  __syncthreads();
  return all;
}

/// With `mean` the kernel computes the divisor; else it uses the divisor of the call. `dx` and `loss` are
/// null if not requested.
template<class T, TargetKind kind>
__global__ void __launch_bounds__(OneBlock::max_threads)
    one_block_rows(const CrossEntropyCall<T> call, const FaultReporter report, const int lane_bits,
                   const bool mean, T* const dx, T* const loss) {
  using C = Compute<T>;
  using F = CrossEntropyRow<T, kind>;
  constexpr int n = OneBlock::lane_elements;
  F f{call};
  const int thread = static_cast<int>(threadIdx.x), lanes = 1 << lane_bits, lane = thread & (lanes - 1);
  const int r = thread >> lane_bits, classes = static_cast<int>(call.classes);
  const bool valid = r < call.rows, first = valid && lane == 0;
  const std::int64_t start = valid ? call.element(r, 0) : 0;
  const auto has = [&](int j) { return valid && lane + j * lanes < classes; };
  await_previous();

  typename F::Row row;
  if constexpr (F::dense) row.r = r;
  if (valid) row.y = call.class_of(r);
  C v[n][1][1];
#pragma unroll
  for (int j = 0; j < n; ++j)
    v[j][0][0] = has(j) ? widen(call.x[start + (lane + j * lanes) * call.inner]) : -infinity<C>();

  const double divisor = mean ? block_divisor(call, first, row.y, lanes) : call.divisor.value;
  if (first && row.y == F::Call::outside) report(r, call.index[r]);
  if (mean) f.call.divisor.reciprocal = 1 / static_cast<C>(divisor);

  C max = -infinity<C>();
#pragma unroll
  for (int j = 0; j < n; ++j) {
    max = larger(max, v[j][0][0]);
    if (row.y == static_cast<unsigned>(lane + j * lanes)) row.own = v[j][0][0];
  }
  max = warp_max(max, lanes);
  // At most one lane holds the logit of the row's class; the others hold 0.
  row.own = warp_sum(row.own, lanes);
  row.up = f.up(valid ? r : 0);
  C s[F::sums] = {};
#pragma unroll
  for (int j = 0; j < n; ++j) f.add(v[j], max, s, row, has(j) ? lane + j * lanes : classes);
  warp_sums(s, lanes);

  if (dx) {
    const auto finish = f.finish(max, max, s, row);
#pragma unroll
    for (int j = 0; j < n; ++j)
      if (has(j)) {
        const int c = lane + j * lanes;
        f.template put<F::caches>(v[j], finish, row, c);
        dx[start + c * call.inner] = narrow<T>(v[j][0][0]);
      }
  }
  if (first && call.losses) f.result(r, row, max, s);
  if (!loss) return;
  const double sum = block_sum(first ? static_cast<double>(f.loss(row, max, s)) : 0, lanes);
  if (thread == 0) *loss = narrow<T>(static_cast<C>(sum) / static_cast<C>(divisor));
}

}  // namespace bobbin::cuda
