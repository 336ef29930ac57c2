// Sums over the rows of a cross-entropy call, in a fixed order: the divisor of `mean`, and the loss.
#pragma once
#include <algorithm>

#include "core/ceil_div.h"
#include "core/cuda/fault.h"
#include "core/cuda/runtime.h"
#include "ops/cuda/rows/mailbox.h"
#include "ops/loss/cross_entropy_functor.cuh"

namespace bobbin::cuda {

/// The sum over a block, in its first thread. Only threads whose number is a multiple of `from` (a power of
/// two below 32) contribute. There must be a barrier between two calls.
__device__ __forceinline__ double block_sum(double v, int from = 1) {
  __shared__ double by_warp[32];
  v = warp_sum(v, 32, from);
  if (threadIdx.x % 32 == 0) by_warp[threadIdx.x / 32] = v;
  __syncthreads();
  if (threadIdx.x >= 32) return 0;
  return warp_sum(threadIdx.x < blockDim.x / 32 ? by_warp[threadIdx.x] : 0.0, 32);
}

inline constexpr int sum_threads = 1024;  ///< of a block
inline constexpr int sum_loads = 16;      ///< numbers that a thread loads before it adds them

/// The sum of f over the share of [0, n) that belongs to block `block` of `blocks`, in the block's first
/// thread.
template<class F>
__device__ double partial_sum(const F& f, std::int64_t n, unsigned block, unsigned blocks) {
  const std::int64_t step = std::int64_t{blocks} * sum_threads;
  typename F::Sum sum = 0;
  for (std::int64_t i = std::int64_t{block} * sum_threads + threadIdx.x; i < n; i += sum_loads * step) {
    decltype(f.load(i)) loaded[sum_loads];
#pragma unroll
    for (int k = 0; k < sum_loads; ++k) loaded[k] = i + k * step < n ? f.load(i + k * step) : f.padding();
    sum += f.sum(loaded, i, step);
  }
  return block_sum(static_cast<double>(sum));
}

/// Passes the sum of f over [0, n) to f.finish. Each block writes its part; the last one to end adds the
/// parts. `done` is zero between launches.
template<class F>
__global__ void __launch_bounds__(sum_threads)
    sum_blocks(const F f, std::int64_t n, double* parts, unsigned* done) {
  await_previous();
  const auto early = f.early();
  double sum = partial_sum(f, n, blockIdx.x, gridDim.x);
  if (gridDim.x > 1) {
    __shared__ bool last;
    if (threadIdx.x == 0) {
      parts[blockIdx.x] = sum;
      __threadfence();
      last = atomicInc(done, gridDim.x - 1) == gridDim.x - 1;  // the last increment sets it to zero
      __threadfence();
    }
    __syncthreads();
    if (!last) return;
    sum = block_sum(threadIdx.x < gridDim.x ? __ldcg(parts + threadIdx.x) : 0);
  }
  if (threadIdx.x == 0) f.finish(sum, early);
}

/// The memory that sum_blocks uses if it has several blocks.
struct SumParts {
  unsigned blocks;
  Tensor parts;
  unsigned* done = nullptr;

  SumParts(Device device, std::int64_t n) {
    // Several blocks wait for each other, which takes as long as two more loads of one block.
    const std::int64_t load = sum_loads * sum_threads, needed = n <= 2 * load ? 1 : ceil_div(n, load);
    blocks = static_cast<unsigned>(std::min<std::int64_t>(needed, sum_threads));
    if (blocks == 1) return;
    parts = empty({blocks}, DType::f64, device);
    done =
        reinterpret_cast<unsigned*>(mailbox(device).words + 1);  // no kernel of the row engine runs meanwhile
  }
};

template<class F>
void launch_sum(std::string_view op, Device device, std::int64_t n, const F& f, const SumParts& p) {
  launch(op, {.device = device, .grid = p.blocks, .block = sum_threads, .early = true}, sum_blocks<F>, f, n,
         p.parts.raw<double>(), p.done);
}

/// Reports rows whose class is out of range, and computes the divisor of `mean`: the sum of the weights of
/// the classes of the rows that are not ignored.
template<class T, bool weighted>
struct DivisorSum {
  using Sum = std::conditional_t<weighted, double, int>;
  CrossEntropyCall<T> call;
  FaultReporter report;
  __device__ int early() const { return 0; }
  __device__ std::int64_t load(std::int64_t r) const { return call.index[r]; }
  __device__ std::int64_t padding() const { return call.ignore_index; }
  __device__ Sum sum(const std::int64_t (&index)[sum_loads], std::int64_t r, std::int64_t step) const {
    Sum sum = 0;
    bool outside = false;
#pragma unroll
    for (int k = 0; k < sum_loads; ++k) {
      const unsigned y = call.class_of_index(index[k]);
      outside |= y == call.outside;
      if constexpr (weighted)
        sum += y == call.ignored ? 0 : static_cast<double>(call.weight_of(y));
      else
        sum += y != call.ignored;
    }
    if (outside)
#pragma unroll 1
      for (; r < call.rows; r += step)  // includes the rows of later loads; the first report is kept
        if (call.class_of(r) == call.outside) report(r, call.index[r]);
    return sum;
  }
  __device__ void finish(double sum, int) const {
    if (call.divisor.counted) call.divisor.set(sum);
  }
};

/// Sums the rows' losses, and divides.
template<class T>
struct LossSum {
  using C = Compute<T>;
  using Sum = double;
  const C* row_losses;
  Divisor divisor;
  T* loss;
  __device__ double early() const { return divisor.get(); }
  __device__ C load(std::int64_t r) const { return row_losses[r]; }
  __device__ C padding() const { return 0; }
  __device__ double sum(const C (&v)[sum_loads], std::int64_t, std::int64_t) const {
    double sum = 0;
#pragma unroll
    for (int k = 0; k < sum_loads; k += 4)  // few conversions, because they are slow
      sum += static_cast<double>((v[k] + v[k + 1]) + (v[k + 2] + v[k + 3]));
    return sum;
  }
  __device__ void finish(double sum, double by) const { *loss = narrow<T>(static_cast<C>(sum / by)); }
};

}  // namespace bobbin::cuda
