// Long rows: a block, or several linked ones, holds a row in shared memory, where each thread has places of
// its own; nothing but the exchange makes threads wait for each other. Loads go there past the registers: so
// many of them under way would not fit in those. Blocks are small, and handed out by the chip, as many at a
// time as it holds: some load while others compute or write.
#pragma once
#include "ops/cuda/rows/exchange.cuh"

namespace bobbin::cuda {

// blockDim.x, read anew: kept from one use to the next, its multiples would take the registers of a pack.
__device__ __forceinline__ int threads_again() { return ptx::ntid_x(); }

/// Each block of a team takes `share` packs of a row, P of each input a thread; the first one also the
/// elements beside the packs.
template<class F, int P>
__global__ void __launch_bounds__(most_threads(sizeof(typename F::Storage)), 1)
    block_rows(const RowArgs<F> a, const Team team, const int share) {
  using T = typename F::Storage;
  using C = Compute<T>;
  constexpr int n = F::inputs, E = per_pack<T>, held = in_registers(P * n);
  extern __shared__ uint4 shared[];
  const int thread = static_cast<int>(threadIdx.x);
  const int rank = static_cast<int>(blockIdx.x) % team.blocks, begin = rank * share + thread;
  const bool odd = rank == 0 && a.columns % E != 0;
  if (!a.early) await_previous();
  Exchange<F> exchange(
      a.f, team, reinterpret_cast<Stats<F>*>(shared + static_cast<int>(blockDim.x) * (P * n - held)), a.rows);

  for (std::int64_t r = blockIdx.x / team.blocks; r < a.rows; r += team.count) {
    // This thread has pack i where i * threads is less.
    const auto reach = [&](const Span<T>& span) {
      return smaller(share, span.shift + span.packs - rank * share) - thread;
    };
    const auto there = [&](const Span<T>& span, int mine, int i, int threads) {
      return i * threads < mine && (i > 0 || begin >= span.shift);
    };
    uint4 x[held ? held : 1]{};
    // Pack i of input k beyond the registers.
    const auto place = [&](int k, int i, int threads) {
      return shared + thread + (k * P + i - held) * threads;
    };
    const auto get = [&](int k, int i, int threads) {
      return k * P + i < held ? x[k * P + i < held ? k * P + i : 0] : *place(k, i, threads);
    };

    T edge[n];
    {
      const Span<T> span(r, a.columns);
      const int mine = reach(span), threads = threads_again();
#pragma unroll
      for (int k = 0; k < n; ++k) {
        const T* const from = a.in[k] + r * a.pitch[k];
        const auto* const packs = reinterpret_cast<const uint4*>(from + span.head) + (begin - span.shift);
#pragma unroll
        for (int i = 0; i < P; ++i)
          if (k * P + i < held)
            x[k * P + i] = load_pack(packs + i * threads, there(span, mine, i, threads), blank<F>(k));
          else if (there(span, mine, i, threads))
            copy_pack(place(k, i, threads), packs + i * threads);
          else
            *place(k, i, threads) = blank<F>(k);
        if (odd && thread < span.edges) edge[k] = from[span.edge(thread)];
      }
    }
    const typename F::Row row = a.f.row(r);
    const bool has_edge = odd && thread < Span<T>(r, a.columns).edges;
    if constexpr (P * n > held) await_copies();
    C beside[n][1];
#pragma unroll
    for (int k = 0; k < n; ++k) beside[k][0] = has_edge ? widen<T>(edge[k]) : blank_element<F>(k);

    if constexpr (is_masked<F>) {
      const Span<T> span(r, a.columns);
      const int mine = reach(span), threads = threads_again();
#pragma unroll
      for (int i = 0; i < P; ++i) {
        if (!there(span, mine, i, threads)) continue;
        uint4 v = get(0, i, threads);
        mask_pack(a.f, v, row, span.head + static_cast<std::int64_t>(begin - span.shift + i * threads) * E);
        if (i < held)
          x[i < held ? i : 0] = v;
        else
          *place(0, i, threads) = v;
      }
      if (has_edge) mask_element(a.f, beside[0], row, span.edge(thread));
    }
    Stats<F> own = Stats<F>::none();
    if constexpr (F::peak) {
      const int threads = threads_again();
      uint4 m = get(0, 0, threads);
#pragma unroll
      for (int i = 1; i < P; ++i) m = larger_pack<T>(m, get(0, i, threads));
      own.max = lanes_max(larger(largest<T>(m), beside[0][0]), 32);
    }
    {
      const Span<T> span(r, a.columns);
      const int mine = reach(span), threads = threads_again();
#pragma unroll
      for (int i = 0; i < P; ++i) {
        uint4 v[n];
#pragma unroll
        for (int k = 0; k < n; ++k) v[k] = get(k, i, threads);
        add_pack(a.f, v, own.max, own.sum, row,
                 there(span, mine, i, threads)
                     ? span.head + static_cast<std::int64_t>(begin - span.shift + i * threads) * E
                     : a.columns);
        if constexpr (F::keeps) {
          if (i < held)
            x[i < held ? i : 0] = v[0];
          else
            *place(0, i, threads) = v[0];
        }
      }
      if (odd) a.f.add(beside, own.max, own.sum, row, has_edge ? span.edge(thread) : a.columns);
    }
#pragma unroll
    for (int s = 0; s < F::sums; ++s) own.sum[s] = lanes_sum_closely(own.sum[s], 32);

    const Stats<F> total = exchange(own);
    const auto finish = a.f.finish(own.max, total.max, total.sum, row);
    if (a.out) {
      const Span<T> span(r, a.columns);
      T* const to = a.out + r * a.columns;
      auto* const packs = reinterpret_cast<uint4*>(to + span.head) + (begin - span.shift);
      const int mine = reach(span), threads = threads_again();
#pragma unroll
      for (int i = 0; i < P; ++i) {
        uint4 v[n];
#pragma unroll
        for (int k = 0; k < n; ++k) v[k] = get(k, i, threads);
        keep_packed(v);
        const std::int64_t column =
            span.head + static_cast<std::int64_t>(begin - span.shift + i * threads) * E;
        const uint4 y = put_pack<F::keeps>(a.f, v, finish, row, column);
        store_pack(packs + i * threads, y, there(span, mine, i, threads));
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
