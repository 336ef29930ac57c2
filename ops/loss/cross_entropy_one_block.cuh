// Cross-entropy of a few short rows: one block, every step. A row is a few lanes' of a warp, and each of them
// holds what it has of it; what rows share goes through the block.
#pragma once
#include <bit>

#include "core/cuda/fault.h"
#include "ops/loss/cross_entropy_functor.cuh"

namespace bobbin::cuda {

/// Which calls are small, and how their block is laid out.
struct SmallRows {
  static constexpr int most_threads = 1024, held = 8;  ///< elements of a lane
  bool fit;
  int lane_bits = 0, threads = 0;

  SmallRows(std::int64_t rows, std::int64_t classes) : fit(classes <= 32 * held && rows <= most_threads) {
    if (!fit) return;
    lane_bits = std::bit_width(static_cast<unsigned>((classes + held - 1) / held - 1));
    threads = static_cast<int>((rows << lane_bits) + 31) / 32 * 32;
    fit = threads <= most_threads;
  }
};

/// The sum over a block, in its first thread, of what its threads have: only those whose number is a multiple
/// of `apart` (a power of two below 32) have anything. A barrier must lie between two of these.
__device__ __forceinline__ double block_sum(double v, int apart = 1) {
  __shared__ double of_warp[32];
  v = lanes_sum(v, 32, apart);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = v;
  __syncthreads();
  if (threadIdx.x >= 32) return 0;
  return lanes_sum(threadIdx.x < blockDim.x / 32 ? of_warp[threadIdx.x] : 0.0, 32);
}

/// `mean` counts what is divided by; else the call's divisor holds. `dx` and `loss` are null where they are
/// not wanted.
template<class T, Spread spread>
__global__ void __launch_bounds__(SmallRows::most_threads)
    small_rows(const CrossEntropyCall<T> call, const FaultReporter report, const int lane_bits,
               const bool mean, T* const dx, T* const loss) {
  using C = Compute<T>;
  using F = CrossEntropyRow<T, spread>;
  constexpr int held = SmallRows::held;
  F f{call};
  const int thread = static_cast<int>(threadIdx.x), lanes = 1 << lane_bits, lane = thread & (lanes - 1);
  const int r = thread >> lane_bits, classes = static_cast<int>(call.classes);
  const bool in = r < call.rows, first = in && lane == 0;
  const std::int64_t start = in ? call.element(r, 0) : 0;
  const auto there = [&](int j) { return in && lane + j * lanes < classes; };
  await_previous();

  typename F::Row row;
  if constexpr (F::dense) row.r = r;
  if (in) row.y = call.class_of(r);
  C v[held][1][1];
#pragma unroll
  for (int j = 0; j < held; ++j)
    v[j][0][0] = there(j) ? widen(call.x[start + (lane + j * lanes) * call.inner]) : -infinity<C>();

  double divisor = call.divisor.value;
  if (mean && !call.weight) {
    divisor = __syncthreads_count(first && row.y != F::Call::ignored);
  } else if (mean) {
    __shared__ double all;
    const double sum =
        block_sum(first && row.y != F::Call::ignored ? static_cast<double>(call.weight_of(row.y)) : 0, lanes);
    if (thread == 0) all = sum;
    __syncthreads();
    divisor = all;
  }
  if (first && row.y == F::Call::outside) report(r, call.index[r]);
  if (mean) f.call.divisor.reciprocal = 1 / static_cast<C>(divisor);

  C max = -infinity<C>();
#pragma unroll
  for (int j = 0; j < held; ++j) {
    max = larger(max, v[j][0][0]);
    if (row.y == static_cast<unsigned>(lane + j * lanes)) row.own = v[j][0][0];
  }
  max = lanes_max(max, lanes);
  row.own = call.cotangent ? call.cotangent_of(in ? r : 0) : lanes_sum(row.own, lanes);  // one has it
  C s[F::sums] = {};
#pragma unroll
  for (int j = 0; j < held; ++j) f.add(v[j], max, s, row, there(j) ? lane + j * lanes : classes);
  lanes_sums(s, lanes);

  if (dx) {
    const auto finish = f.finish(max, max, s, row);
#pragma unroll
    for (int j = 0; j < held; ++j)
      if (there(j)) {
        const int c = lane + j * lanes;
        f.template put<F::keeps>(v[j], finish, row, c);
        dx[start + c * call.inner] = narrow<T>(v[j][0][0]);
      }
  }
  if (first && call.row_losses) f.result(r, row, max, s);
  if (!loss) return;
  const double sum = block_sum(first ? static_cast<double>(f.cost(row, max, s)) : 0, lanes);
  if (thread == 0) *loss = narrow<T>(static_cast<C>(sum) / static_cast<C>(divisor));
}

}  // namespace bobbin::cuda
