// Attention's forward kernel: a block keeps its queries, and goes over the keys and values, whose weights are
// sums of exponentials below the largest logit so far: FlashAttention-2 (Dao, arXiv:2307.08691).
#pragma once
#include "ops/attention/kernel.cuh"

namespace bobbin::cuda {

/// The sums of exponentials of a lane's two rows: of logits times `factor`, below a `base` that the largest
/// so far exceeds by at most 8, so that it moves, and what was accumulated is scaled, only now and then.
struct RunningSoftmax {
  float base[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};

  /// Replaces logits by their exponentials to base 2, and scales the output to a new base.
  template<int n, int m>
  __device__ __forceinline__ void add(tiles::Accumulator<n>& c, tiles::Accumulator<m>& output, float factor) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = -INFINITY;
#pragma unroll
      for (int j = 0; j < n; ++j) most = fmaxf(most, fmaxf(c.x[j][2 * half], c.x[j][2 * half + 1]));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 2)) * factor;
      if (most > base[half] + 8) {
        const float shrink = ptx::ex2_approx_ftz(base[half] - most);
        base[half] = most;
        sum[half] *= shrink;
#pragma unroll
        for (int j = 0; j < m; ++j) {
          output.x[j][2 * half] *= shrink;
          output.x[j][2 * half + 1] *= shrink;
        }
      }
      const float below = base[half] == -INFINITY ? 0 : base[half];
#pragma unroll
      for (int j = 0; j < n; ++j)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          c.x[j][i] = ptx::ex2_approx_ftz(fmaf(c.x[j][i], factor, -below));
          sum[half] += c.x[j][i];
        }
    }
  }
  /// The sum over the row.
  __device__ __forceinline__ float total(int half) const {
    float x = sum[half];
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
  }
};

/// `general`: with a mask, or a scale that is not positive.
template<class T, int head_size, bool general>
__global__ void __launch_bounds__(AttentionBlock<T, head_size>::threads, head_size == 64 ? 2 : 1)
    attention_forward(const __grid_constant__ AttentionArgs p) {
  using Block = AttentionBlock<T, head_size>;
  using Other = typename Block::Other;
  constexpr int rows = Block::rows, step = Block::step, n = step / 8, threads = Block::threads;
  extern __shared__ __align__(1024) char shared[];
  const int blocks = (p.l - 1) / rows + 1, block = static_cast<int>(blockIdx.x) % blocks;
  const int first = (blocks - 1 - block) * rows;  // with a causal mask, long blocks begin first
  const std::int64_t head = static_cast<int>(blockIdx.x) / blocks;
  const std::int64_t key_head = head / p.heads * (p.heads / p.group) + head % p.heads / p.group;
  const T* query = static_cast<const T*>(p.query) + (head * p.l + first) * p.d;
  const T* key = static_cast<const T*>(p.key) + key_head * p.s * p.d;
  const T* value = static_cast<const T*>(p.value) + key_head * p.s * p.e;
  const int turns = ((p.causal && first + rows < p.s ? first + rows : p.s) - 1) / step + 1;

  const auto keys = [&](int turn) { return Other(shared + turn % 2 * 2 * Other::bytes); };
  const auto values = [&](int turn) { return Other(shared + (turn % 2 * 2 + 1) * Other::bytes); };
  const typename Block::Own queries(shared + 4 * Other::bytes);
  const auto load = [&](int turn) {
    const int at = turn * step;
    tiles::copy<threads>(keys(turn), key + std::int64_t{at} * p.d, p.s - at, p.d, p.whole);
    tiles::copy<threads>(values(turn), value + std::int64_t{at} * p.e, p.s - at, p.e, p.whole);
  };
  tiles::copy<threads>(queries, query, p.l - first, p.d, p.whole);
  load(0);

  const int warp_row = static_cast<int>(threadIdx.x) / 32 * 16, row = first + warp_row;
  const tiles::Rows<typename Block::Own> own(queries, warp_row);
  tiles::Accumulator<head_size / 8> output;
  output.clear();
  RunningSoftmax softmax;
  const AttentionLogits logit(p, head);
  for (int turn = 0; turn < turns; ++turn) {
    const int at = turn * step;
    tiles::wait_copies();
    if (turn + 1 < turns) load(turn + 1);
    tiles::Accumulator<n> c;
    tiles::product_transposed(c, own, keys(turn));
    tiles::wait_products(c);
    if (general) for_each(c, row, at, [&](float& x, int i, int j) { x = logit(x, i, j); });
    if (at + step > p.s || (p.causal && at + step > row))
      for_each(c, row, at, [&](float& x, int i, int j) {
        if (j >= p.s || (p.causal && j > i)) x = -INFINITY;
      });
    softmax.add(c, output, general ? 1 : p.log2_scale);
    const auto weights = tiles::rounded<T>(c);
    tiles::add_product(output, weights, values(turn));
    tiles::wait_products(output);
  }

  float factor[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float total = softmax.total(half);
    // A row that sees nothing is 0 with a mask; without one it is the softmax of infinities, NaN.
    const bool nothing = total == 0 && p.mask;
    factor[half] = nothing ? 0 : 1 / total;
    const int q = row + tiles::row_of(half);
    if (p.base && threadIdx.x % 4 == 0 && q < p.l) {
      p.base[head * p.l + q] = nothing ? INFINITY : softmax.base[half];
      p.log_sum[head * p.l + q] = nothing ? 0 : log2f(total);
    }
  }
  store_rows(static_cast<T*>(p.result[0]) + (head * p.l + row) * p.e, output, p.l - row, p.e, factor);
}

}  // namespace bobbin::cuda
