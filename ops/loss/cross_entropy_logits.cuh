// The kernel of linear_cross_entropy for a block of logits, which a product has just written in the type that
// kernels compute in: the loss of each row, and the gradient of its logits, rounded to the type of the next
// products. The gradient takes the place of the logits.
#pragma once
#include "ops/loss/cross_entropy_functor.cuh"

namespace bobbin::cuda {

/// Rows of logits in memory, and how a block of threads reads them.
struct LogitRows {
  std::int64_t pitch;  ///< numbers between rows; a multiple of 8
  int cached;          ///< steps of a row that shared memory keeps for the second pass
};

inline constexpr int logit_threads = 512;  ///< of a block, at most
inline constexpr int logit_step = 8;       ///< f32 elements that a thread reads at once; of f64, half as many

/// Bytes of a step of a row.
constexpr std::size_t step_bytes(int threads) { return static_cast<std::size_t>(threads) * logit_step * 4; }

/// One block for each row of call.x, which `rows.pitch` describes. A block reads its row twice: the sums,
/// then the gradient. With `differentiates`, the gradient times `scale`, rounded to T, is written where the
/// row begins.
template<class T, class C, TargetKind kind>
__global__ void __launch_bounds__(logit_threads, 2)
    logits_to_gradient(const CrossEntropyCall<C> call, const LogitRows rows, const bool differentiates,
                       const C scale) {
  using F = CrossEntropyRow<C, kind>;
  constexpr int packs = logit_step * 4 / 16, n = packs * static_cast<int>(16 / sizeof(C));
  extern __shared__ uint4 cache[];
  __shared__ Stats<F> by_warp[logit_threads / 32];
  const F f{call};
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const std::int64_t r = blockIdx.x, step = std::int64_t{threads} * n, classes = call.classes;
  C* const x = const_cast<C*>(call.x) + r * rows.pitch;
  await_previous();

  typename F::Row row;
  row.y = call.class_of(r);
  if (row.y < F::Call::none) row.own = x[row.y];
  row.up = f.up(r);
  if constexpr (F::dense) row.r = r;

  // The n elements from column i on; the pitch leaves room beyond the last column.
  union Part {
    uint4 pack[packs];
    C v[1][n];
  };
  const auto load = [&](std::int64_t i) {
    Part part;
#pragma unroll
    for (int p = 0; p < packs; ++p)
      part.pack[p] = i < classes ? reinterpret_cast<const uint4*>(x + i)[p] : uint4{};
    return part;
  };
  // Elements beyond the last column are -infinity.
  const auto mask_end = [&](C(&v)[n], std::int64_t i) {
    if (i + n <= classes) return;
#pragma unroll
    for (int j = 0; j < n; ++j)
      if (i + j >= classes) v[j] = -infinity<C>();
  };
  const auto in_cache = [&](int s, int p) { return cache + (s * packs + p) * threads + thread; };

  // Each pass loads the next elements before it computes on those that it has.
  const std::int64_t begin = std::int64_t{thread} * n;
  auto stats = Stats<F>::none();
  Part next = load(begin);
  int s = 0;
  for (std::int64_t i = begin; i < classes; i += step, ++s) {
    Part part = next;
    next = load(i + step);
    if (s < rows.cached)
#pragma unroll
      for (int p = 0; p < packs; ++p) *in_cache(s, p) = part.pack[p];
    mask_end(part.v[0], i);
    C max = stats.max;
#pragma unroll
    for (int j = 0; j < n; ++j) max = larger(max, part.v[0][j]);
    f.rescale(stats.sum, stats.max, max);
    stats.max = max;
    if (!F::dense || i + n <= classes) {
      f.add(part.v, max, stats.sum, row, i);
    } else {
#pragma unroll
      for (int j = 0; j < n; ++j) {  // its other targets do not exist
        C v[1][1] = {{part.v[0][j]}};
        if (i + j < classes) f.add(v, max, stats.sum, row, i + j);
      }
    }
  }
  stats = warp_merge(f, stats, 32);
  if (thread % 32 == 0) by_warp[thread / 32] = stats;
  __syncthreads();
  stats = warp_merge(f, thread % 32 < threads / 32 ? by_warp[thread % 32] : Stats<F>::none(), 32);
  if (thread == 0) f.result(r, row, stats.max, stats.sum);
  if (!differentiates) return;

  const auto finish = f.finish(stats.max, stats.max, stats.sum, row);
  T* const dx = reinterpret_cast<T*>(x);
  const auto load_again = [&](std::int64_t i, int s) {
    if (s >= rows.cached) return load(i);
    Part part;
#pragma unroll
    for (int p = 0; p < packs; ++p) part.pack[p] = i < classes ? *in_cache(s, p) : uint4{};
    return part;
  };
  next = load_again(begin, 0);
  s = 0;
  for (std::int64_t first = 0; first < classes; first += step) {
    const std::int64_t i = first + begin;
    Part part = next;
    next = load_again(i + step, ++s);
    mask_end(part.v[0], i);
    if (!F::dense || i + n <= classes) {
      f.template put<false>(part.v, finish, row, i);
    } else {
#pragma unroll
      for (int j = 0; j < n; ++j) {
        C v[1][1] = {{part.v[0][j]}};
        if (i + j < classes) f.template put<false>(v, finish, row, i + j);
        part.v[0][j] = i + j < classes ? v[0][0] : C(0);
      }
    }
    // Narrower elements are written over logits that other threads have read by now.
    if constexpr (sizeof(T) < sizeof(C)) __syncthreads();
    if (i >= classes) continue;
    Pack<T, n> out;
#pragma unroll
    for (int j = 0; j < n; ++j) out.v[j] = narrow<T>(part.v[0][j] * scale);
    using Words = uint4[sizeof(out) / 16];
#pragma unroll
    for (int p = 0; p < static_cast<int>(sizeof(out) / 16); ++p)
      reinterpret_cast<uint4*>(dx + i)[p] = reinterpret_cast<const Words&>(out)[p];
  }
}

}  // namespace bobbin::cuda
