// Long rows: a block, or several linked ones, holds a row in registers while the next row it will take is on
// its way to shared memory, where each thread has a place of its own for the packs it will need. So loads go
// on while rows are reduced and written, and nothing but the exchange makes threads wait for each other.
#pragma once
#include "row_link.cuh"

namespace bobbin::cuda {

template<class F>
constexpr std::size_t block_shared(int packs, int threads, int blocks, Link link) {
  return static_cast<std::size_t>(packs) * static_cast<std::size_t>(threads) * F::inputs * sizeof(uint4) +
         static_cast<std::size_t>(exchange_room(threads / 32, blocks, link)) * sizeof(Stats<F>);
}

// blockDim.x, read anew: kept from one use to the next, its multiples would take the registers of a pack.
__device__ __forceinline__ int threads_again() {
  int threads;
  asm volatile("mov.u32 %0, %%ntid.x;" : "=r"(threads));
  return threads;
}

/// Each block of a team takes `share` packs of a row, P a thread; the first one also the elements beside the
/// packs.
template<class F, int P>
__global__ void __launch_bounds__(sizeof(typename F::Storage) == 8 ? 512 : 1024)
    block_rows(const RowArgs<F> a, const Team team, const int share) {
  using T = typename F::Storage;
  using C = Compute<T>;
  constexpr int n = F::inputs, E = per_pack<T>;
  extern __shared__ uint4 shared[];
  const int thread = static_cast<int>(threadIdx.x);
  const int rank = static_cast<int>(blockIdx.x) % team.blocks, begin = rank * share + thread;
  const bool odd = rank == 0 && a.columns % E != 0;
  uint4* const place = shared + thread;  // of pack i of input k: (k * P + i) * threads further

  // This thread has pack i where i * threads is less.
  const auto reach = [&](const Span<T>& span) { return smaller(share, span.packs - rank * share) - thread; };

  T edge[n];
  typename F::Row next_row;
  const auto fetch = [&](std::int64_t r) {
    const Span<T> span(r, a.columns);
    const int mine = reach(span), threads = threads_again();
#pragma unroll
    for (int k = 0; k < n; ++k) {
      const T* const from = a.in[k] + r * a.pitch[k];
      const auto* const packs = reinterpret_cast<const uint4*>(from + span.head) + begin;
#pragma unroll
      for (int i = 0; i < P; ++i)
        if (i * threads < mine)
          copy_pack(place + (k * P + i) * threads, packs + i * threads);
        else
          place[(k * P + i) * threads] = blank<F>(k);
      if (odd && thread < span.edges) edge[k] = from[span.edge(thread)];
    }
    next_row = a.f.row(r);
  };

  std::int64_t r = blockIdx.x / team.blocks;
  fetch(r);
  Exchange<F> exchange(a.f, team, reinterpret_cast<Stats<F>*>(shared + n * P * blockDim.x), a.rows);
  for (; r < a.rows; r += team.count) {
    await_copies();
    uint4 x[P][n];
    const int threads = threads_again();
#pragma unroll
    for (int i = 0; i < P; ++i)
#pragma unroll
      for (int k = 0; k < n; ++k) x[i][k] = place[(k * P + i) * threads];
    C beside[n][1];
    bool has_edge = odd && thread < Span<T>(r, a.columns).edges;
#pragma unroll
    for (int k = 0; k < n; ++k) beside[k][0] = has_edge ? widen<T>(edge[k]) : blank_element<F>(k);

    Stats<F> own = Stats<F>::none();
    if constexpr (F::peak) own.max = larger(peak<F>(x), beside[0][0]);
    const typename F::Row row = next_row;
    if (r + team.count < a.rows) fetch(r + team.count);  // what lay in `place` has been read
    if constexpr (F::peak) own.max = lanes_max(own.max, 32);
    {
      const Span<T> span(r, a.columns);
      const int mine = reach(span), threads = threads_again();
#pragma unroll
      for (int i = 0; i < P; ++i)
        add_pack(
            a.f, x[i], own.max, own.sum, row,
            i * threads < mine ? span.head + static_cast<std::int64_t>(begin + i * threads) * E : a.columns);
      if (odd) a.f.add(beside, own.max, own.sum, row, has_edge ? span.edge(thread) : a.columns);
    }
#pragma unroll
    for (int s = 0; s < F::sums; ++s) own.sum[s] = lanes_sum_closely(own.sum[s], 32);

    const Stats<F> total = exchange(own);
    const auto finish = a.f.finish(own.max, total.max, total.sum, row);
    if (a.out) {
      const Span<T> span(r, a.columns);
      T* const to = a.out + r * a.columns;
      auto* const packs = reinterpret_cast<uint4*>(to + span.head) + begin;
      const int mine = reach(span), threads = threads_again();
#pragma unroll
      for (int i = 0; i < P; ++i) {
        keep_packed(x[i]);
        const uint4 y = put_pack<F::keeps>(a.f, x[i], finish, row,
                                           span.head + static_cast<std::int64_t>(begin + i * threads) * E);
        store_pack(packs + i * threads, y, i * threads < mine);
      }
      if (has_edge) {
        a.f.template put<F::keeps>(beside, finish, row, span.edge(thread));
        to[span.edge(thread)] = narrow<T>(beside[0][0]);
      }
    }
    if (rank == 0 && thread == 0) a.f.result(r, row, total.max, total.sum);
  }
  exchange.end();
}

}  // namespace bobbin::cuda
