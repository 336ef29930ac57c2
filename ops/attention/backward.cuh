// Attention's backward kernels compute the weights again, from the logits and the statistics of the rows. One
// has a block of queries and adds up their gradients over the keys; the other has a block of keys and adds up
// the gradients of keys and values over the queries. So each sum has one order, and nothing is added
// atomically.
#pragma once
#include "ops/attention/kernel.cuh"

namespace bobbin::cuda {

/// Where a weight is 0, the gradient of its key's value, which may be infinite, does not count.
template<int n>
__device__ __forceinline__ void forget_hidden(tiles::Accumulator<n>& gradient,
                                              const tiles::Accumulator<n>& weights) {
#pragma unroll
  for (int j = 0; j < n; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (weights.x[j][i] == 0) gradient.x[j][i] = 0;
}

/// The gradient of the queries, and `delta` for the other kernel. With P the weights and
/// dP = dO V^T: delta = scale rowsum(dO O), dS = P (scale dP - delta), dQ = dS K. P and dS are rounded to T
/// only as factors; delta comes from the rounded O.
template<class T, int head_size, bool general>
__global__ void __launch_bounds__(AttentionBlock<T, head_size>::threads)
    attention_query_gradient(const __grid_constant__ AttentionArgs p) {
  using Block = AttentionBlock<T, head_size>;
  using Other = typename Block::Other;
  constexpr int rows = Block::rows, step = Block::step, n = step / 8, threads = Block::threads;
  extern __shared__ __align__(1024) char shared[];
  const int blocks = (p.l - 1) / rows + 1, block = static_cast<int>(blockIdx.x) % blocks;
  const int first = (blocks - 1 - block) * rows;  // with a causal mask, long blocks begin first
  const std::int64_t head = static_cast<int>(blockIdx.x) / blocks, head_row = head * p.l;
  const std::int64_t key_head = head / p.heads * (p.heads / p.group) + head % p.heads / p.group;
  const T* key = static_cast<const T*>(p.key) + key_head * p.s * p.d;
  const T* value = static_cast<const T*>(p.value) + key_head * p.s * p.e;
  const int turns = ((p.causal && first + rows < p.s ? first + rows : p.s) - 1) / step + 1;

  const auto keys = [&](int turn) { return Other(shared + turn % 2 * 2 * Other::bytes); };
  const auto values = [&](int turn) { return Other(shared + (turn % 2 * 2 + 1) * Other::bytes); };
  char* const own_tiles = shared + 4 * Other::bytes;
  const typename Block::Own queries(own_tiles), grads(own_tiles + Block::Own::bytes);
  const auto load = [&](int turn) {
    const int at = turn * step;
    tiles::copy<threads>(keys(turn), key + std::int64_t{at} * p.d, p.s - at, p.d, p.whole);
    tiles::copy<threads>(values(turn), value + std::int64_t{at} * p.e, p.s - at, p.e, p.whole);
  };
  tiles::copy<threads>(queries, static_cast<const T*>(p.query) + (head_row + first) * p.d, p.l - first, p.d,
                       p.whole);
  tiles::copy<threads>(grads, static_cast<const T*>(p.grad) + (head_row + first) * p.e, p.l - first, p.e,
                       p.whole);
  load(0);

  const int warp_row = static_cast<int>(threadIdx.x) / 32 * 16, row = first + warp_row;
  float base[2], log_sum[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int q = row + tiles::row_of(half);
    float sum = 0;
    base[half] = INFINITY, log_sum[half] = 0;
    if (q < p.l) {
      base[half] = p.base[head_row + q];
      log_sum[half] = p.log_sum[head_row + q];
      const T* grad = static_cast<const T*>(p.grad) + (head_row + q) * p.e;
      const T* output = static_cast<const T*>(p.output) + (head_row + q) * p.e;
      for (int k = static_cast<int>(threadIdx.x) % 4; k < p.e; k += 4)
        sum = fmaf(widen(grad[k]), widen(output[k]), sum);
    }
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    delta[half] = sum * p.scale;
    if (threadIdx.x % 4 == 0 && q < p.l) p.delta[head_row + q] = delta[half];
  }

  const tiles::Rows<typename Block::Own> own(queries, warp_row), own_grad(grads, warp_row);
  const AttentionLogits logit(p, head);
  const float factor = general ? 1 : p.log2_scale;
  tiles::Accumulator<head_size / 8> gradient;
  tiles::Accumulator<n> c, d;
  gradient.clear();
  const auto start = [&](int turn) {
    if (turn + 1 < turns) load(turn + 1);
    tiles::product_transposed(c, own, keys(turn));
    tiles::product_transposed(d, own_grad, values(turn));
  };
  const auto hides = [&](int turn) {
    return (turn + 1) * step > p.s || (p.causal && (turn + 1) * step > row);
  };
  const auto weigh = [&](int turn) {  // logits become weights
    const int at = turn * step;
    if (general) for_each(c, row, at, [&](float& x, int i, int j) { x = logit(x, i, j); });
    if (hides(turn))
      for_each(c, row, at, [&](float& x, int i, int j) {
        if (j >= p.s || (p.causal && j > i)) x = -INFINITY;
      });
#pragma unroll
    for (int j = 0; j < n; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        c.x[j][i] = ptx::ex2_approx_ftz(fmaf(c.x[j][i], factor, -base[i / 2]) - log_sum[i / 2]);
  };
  const auto differentiate = [&](int turn) {  // weights become gradients of logits
    if (general || hides(turn)) forget_hidden(d, c);
#pragma unroll
    for (int j = 0; j < n; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) c.x[j][i] *= fmaf(d.x[j][i], p.scale, -delta[i / 2]);
  };
  for (int turn = 0; turn < turns; ++turn) {
    tiles::wait_copies();
    start(turn);
    tiles::wait_products<1>(c);
    weigh(turn);
    tiles::wait_products(d);
    differentiate(turn);
    const auto logit_gradient = tiles::rounded<T>(c);
    tiles::add_product(gradient, logit_gradient, keys(turn));
    tiles::wait_products(gradient);
  }
  store_rows(static_cast<T*>(p.result[0]) + (head_row + row) * p.d, gradient, p.l - row, p.d, {1, 1});
}

/// The gradients of keys and values: dV = P^T dO, dK = dS^T Q, in transposed tiles whose rows are keys.
/// They are sums over the queries of all heads that share the keys.
template<class T, int head_size, bool general>
__global__ void __launch_bounds__(AttentionBlock<T, head_size>::threads)
    attention_key_value_gradient(const __grid_constant__ AttentionArgs p) {
  using Block = AttentionBlock<T, head_size>;
  using Other = typename Block::Other;
  constexpr int rows = Block::rows, step = Block::step, n = step / 8, threads = Block::threads;
  extern __shared__ __align__(1024) char shared[];
  const int blocks = (p.s - 1) / rows + 1, first = static_cast<int>(blockIdx.x) % blocks * rows;
  const std::int64_t key_head = static_cast<int>(blockIdx.x) / blocks;
  const std::int64_t first_head =
      key_head / (p.heads / p.group) * p.heads + key_head % (p.heads / p.group) * p.group;
  const std::int64_t key_row = key_head * p.s + first;
  const int begin = p.causal ? first / step * step : 0;  // no earlier query sees these keys

  const int steps = begin < p.l ? (p.l - 1 - begin) / step + 1 : 0, turns = steps * p.group;
  const auto queries = [&](int turn) { return Other(shared + turn % 2 * 2 * Other::bytes); };
  const auto grads = [&](int turn) { return Other(shared + (turn % 2 * 2 + 1) * Other::bytes); };
  char* const own_tiles = shared + 4 * Other::bytes;
  const typename Block::Own keys(own_tiles), values(own_tiles + Block::Own::bytes);
  float* const statistics = reinterpret_cast<float*>(own_tiles + 2 * Block::Own::bytes);  // [2][3][step]
  const auto load = [&](int turn) {
    const int at = begin + turn % steps * step;
    const std::int64_t row = (first_head + turn / steps) * p.l + at;
    tiles::copy<threads>(queries(turn), static_cast<const T*>(p.query) + row * p.d, p.l - at, p.d, p.whole);
    tiles::copy<threads>(grads(turn), static_cast<const T*>(p.grad) + row * p.e, p.l - at, p.e, p.whole);
    // Of queries beyond the last all are 0, which adds nothing to the sums.
    const int i = static_cast<int>(threadIdx.x);
    float* const to = statistics + turn % 2 * 3 * step + i;
    const bool there = at + i < p.l;
    const std::int64_t from = there ? row + i : row;
    if (i < step) {
      ptx::cp_async_ca_4(to, p.base + from, there);
      ptx::cp_async_ca_4(to + step, p.log_sum + from, there);
      ptx::cp_async_ca_4(to + 2 * step, p.delta + from, there);
    }
  };
  tiles::copy<threads>(keys, static_cast<const T*>(p.key) + key_row * p.d, p.s - first, p.d, p.whole);
  tiles::copy<threads>(values, static_cast<const T*>(p.value) + key_row * p.e, p.s - first, p.e, p.whole);
  if (turns > 0) load(0);

  const int warp_row = static_cast<int>(threadIdx.x) / 32 * 16, row = first + warp_row;
  const tiles::Rows<typename Block::Own> own(keys, warp_row), own_value(values, warp_row);
  const float factor = general ? 1 : p.log2_scale;
  tiles::Accumulator<head_size / 8> key_gradient, value_gradient;
  tiles::Accumulator<n> c, d;
  key_gradient.clear();
  value_gradient.clear();
  const auto start = [&](int turn) {
    if (turn + 1 < turns) load(turn + 1);
    tiles::product_transposed(c, own, queries(turn));
    tiles::product_transposed(d, own_value, grads(turn));
  };
  const auto of_columns = [&](int turn, int which, int j) {
    const float* at = statistics + (turn % 2 * 3 + which) * step + tiles::column_of(j);
    return *reinterpret_cast<const float2*>(at);
  };
  const auto hides = [&](int at) { return at + step > p.l || (p.causal && at < row + 16); };
  const auto weigh = [&](int turn) {  // logits become weights
    const int at = begin + turn % steps * step;
    const std::int64_t head = first_head + turn / steps;
    const AttentionLogits logit(p, head);
    if (general) for_each(c, row, at, [&](float& x, int k, int q) { x = logit(x, q, k); });
    if (hides(at))
      for_each(c, row, at, [&](float& x, int k, int q) {
        if (q >= p.l || (p.causal && k > q)) x = -INFINITY;
      });
#pragma unroll
    for (int j = 0; j < n; ++j) {
      const float2 base = of_columns(turn, 0, j), log_sum = of_columns(turn, 1, j);
#pragma unroll
      for (int i = 0; i < 4; ++i)
        c.x[j][i] = ptx::ex2_approx_ftz(fmaf(c.x[j][i], factor, i % 2 == 0 ? -base.x : -base.y) -
                                        (i % 2 == 0 ? log_sum.x : log_sum.y));
    }
  };
  const auto differentiate = [&](int turn) {  // weights become gradients of logits
    if (general || hides(begin + turn % steps * step)) forget_hidden(d, c);
#pragma unroll
    for (int j = 0; j < n; ++j) {
      const float2 delta = of_columns(turn, 2, j);
#pragma unroll
      for (int i = 0; i < 4; ++i) c.x[j][i] *= fmaf(d.x[j][i], p.scale, i % 2 == 0 ? -delta.x : -delta.y);
    }
  };
  for (int turn = 0; turn < turns; ++turn) {
    tiles::wait_copies();
    start(turn);
    tiles::wait_products<1>(c);
    weigh(turn);
    const auto weights = tiles::rounded<T>(c);
    tiles::add_product(value_gradient, weights, grads(turn));
    tiles::wait_products<1>(d);
    differentiate(turn);
    const auto logit_gradient = tiles::rounded<T>(c);
    tiles::add_product(key_gradient, logit_gradient, queries(turn));
    tiles::wait_products(value_gradient, key_gradient);
  }
  store_rows(static_cast<T*>(p.result[1]) + (key_row + warp_row) * p.d, key_gradient, p.s - row, p.d, {1, 1});
  store_rows(static_cast<T*>(p.result[2]) + (key_row + warp_row) * p.e, value_gradient, p.s - row, p.e,
             {1, 1});
}

}  // namespace bobbin::cuda
