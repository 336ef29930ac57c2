// Algorithm::block, for long rows: one block, a cluster, or several blocks that all run at the same time hold
// a row in shared memory. With 16 packs per thread, four of them are in registers. Each thread accesses only
// its own packs, so threads wait for each other in the exchange alone. Most loads go to shared memory
// directly, because registers could not hold that many loads in flight. Blocks are small, and a
// multiprocessor runs several: some load while others compute or store.
#pragma once
#include "ops/cuda/rows/exchange.cuh"

namespace bobbin::cuda {

/// Each block of a team holds `packs_per_block` packs of a row, P of each input per thread: the first
/// ones in registers, the others in shared memory. The first block of the team also holds the edge elements.
///
/// One function, not one per step: with the steps as members of a struct, ptxas takes 50 registers in place
/// of 48 for softmax's derivative in f32, so that fewer blocks fit a multiprocessor. Each step computes the
/// thread's range and reads blockDim.x anew: values kept between steps would take registers that a pack
/// needs.
template<class F, int P>
__global__ void __launch_bounds__(max_block_threads(sizeof(typename F::Storage)), 1)
    block_rows(const RowArgs<F> a, const Team team, const int packs_per_block) {
  using T = typename F::Storage;
  using C = Compute<T>;
  constexpr int n = F::inputs, E = per_pack<T>, in_registers = packs_in_registers(P * n);
  extern __shared__ uint4 shared[];
  const int thread = static_cast<int>(threadIdx.x);
  const int rank = static_cast<int>(blockIdx.x) % team.blocks, begin = rank * packs_per_block + thread;
  // Whether rows have edge elements, and this block holds them.
  const bool has_edges = rank == 0 && a.columns % E != 0;
  if (!a.early) await_previous();
  Exchange<F> exchange(
      a.f, team, reinterpret_cast<Stats<F>*>(shared + static_cast<int>(blockDim.x) * (P * n - in_registers)),
      a.rows);

  for (std::int64_t r = blockIdx.x / team.blocks; r < a.rows; r += team.count) {
    // The packs of the block's part of the row; with the empty ones before it that make it begin at a
    // multiple of 128 bytes.
    const auto limit_of = [&](const RowSpan<T>& span) {
      return smaller(packs_per_block, span.shift + span.packs - rank * packs_per_block);
    };
    const auto has = [&](const RowSpan<T>& span, int limit, int i, int threads) {
      return i * threads + thread < limit && (i > 0 || begin >= span.shift);
    };
    uint4 x[in_registers ? in_registers : 1]{};
    // Pack i of input k, which is in shared memory.
    const auto in_shared = [&](int k, int i, int threads) {
      return shared + thread + (k * P + i - in_registers) * threads;
    };
    // Pack i of input k.
    const auto get = [&](int k, int i, int threads) {
      return k * P + i < in_registers ? x[k * P + i < in_registers ? k * P + i : 0]
                                      : *in_shared(k, i, threads);
    };

    // Loads the packs in registers and the edge element, and starts the copies of the other packs.
    T edge[n];
    {
      const RowSpan<T> span(r, a.columns);
      const int limit = limit_of(span), threads = ptx::ntid_x();
#pragma unroll
      for (int k = 0; k < n; ++k) {
        const T* const from = a.in[k] + r * a.pitch[k];
        const auto* const packs = reinterpret_cast<const uint4*>(from + span.head) + (begin - span.shift);
        each_pack<P>(limit, threads, [&](int i) {
          if (k * P + i < in_registers)
            x[k * P + i < in_registers ? k * P + i : 0] =
                load_pack(packs + i * threads, has(span, limit, i, threads), padding<F>(k));
          else if (has(span, limit, i, threads))
            copy_pack(in_shared(k, i, threads), packs + i * threads);
          else
            *in_shared(k, i, threads) = padding<F>(k);
        });
        if (has_edges && thread < span.edges) edge[k] = from[span.edge(thread)];
      }
    }
    const typename F::Row row = a.f.row(r);

    // Waits for the copies, and masks.
    const bool has_edge = has_edges && thread < RowSpan<T>(r, a.columns).edges;
    if constexpr (P * n > in_registers) await_copies();
    C edge_value[n][1];
#pragma unroll
    for (int k = 0; k < n; ++k) edge_value[k][0] = has_edge ? widen<T>(edge[k]) : padding_element<F>(k);

    if constexpr (is_masked<F>) {
      const RowSpan<T> span(r, a.columns);
      const int limit = limit_of(span), threads = ptx::ntid_x();
#pragma unroll
      for (int i = 0; i < P; ++i) {
        if (!has(span, limit, i, threads)) continue;
        uint4 v = get(0, i, threads);
        mask_pack(a.f, v, row, span.head + static_cast<std::int64_t>(begin - span.shift + i * threads) * E);
        if (i < in_registers)
          x[i < in_registers ? i : 0] = v;
        else
          *in_shared(0, i, threads) = v;
      }
      if (has_edge) mask_element(a.f, edge_value[0], row, span.edge(thread));
    }

    // The maximum, then the sums, of what the warp holds.
    Stats<F> own = Stats<F>::none();
    if constexpr (F::has_max) {
      const int limit = limit_of(RowSpan<T>(r, a.columns)), threads = ptx::ntid_x();
      uint4 m = get(0, 0, threads);
      each_pack<P>(limit, threads, [&](int i) { m = larger_pack<T>(m, get(0, i, threads)); });
      own.max = warp_max(larger(largest<T>(m), edge_value[0][0]), 32);
    }
    uint4 most = padding<F>(0);  // the elementwise maximum of this thread's packs of the first input
    {
      const RowSpan<T> span(r, a.columns);
      const int limit = limit_of(span), threads = ptx::ntid_x();
      each_pack<P>(limit, threads, [&](int i) {
        uint4 v[n];
#pragma unroll
        for (int k = 0; k < n; ++k) v[k] = get(k, i, threads);
        if constexpr (has_dominant<F>) most = larger_pack<T>(most, v[0]);
        add_pack(a.f, v, own.max, own.sum, row,
                 has(span, limit, i, threads)
                     ? span.head + static_cast<std::int64_t>(begin - span.shift + i * threads) * E
                     : a.columns);
        if constexpr (F::caches) {
          if (i < in_registers)
            x[i < in_registers ? i : 0] = v[0];
          else
            *in_shared(0, i, threads) = v[0];
        }
      });
      if (has_edges) a.f.add(edge_value, own.max, own.sum, row, has_edge ? span.edge(thread) : a.columns);
    }
#pragma unroll
    for (int s = 0; s < F::sums; ++s) own.sum[s] = warp_sum_in_double(own.sum[s], 32);
    if constexpr (has_dominant<F>)
      if (__any_sync(~0u, larger(largest<T>(most), edge_value[0][0]) > C(F::dominant_above))) {
        const int limit = limit_of(RowSpan<T>(r, a.columns)), threads = ptx::ntid_x();
        each_pack<P>(limit, threads, [&](int i) {
          uint4 v[n];
#pragma unroll
          for (int k = 0; k < n; ++k) v[k] = get(k, i, threads);
          keep_packed(v);
          find_in_pack(a.f, v, own.max);
        });
        if (has_edges) a.f.find(edge_value, own.max);
        merge_dominant<F>(own.max, 32);
      }

    Stats<F> total = exchange(own);
    if constexpr (has_dominant<F>)
      if (total.dominated()) {
        const int limit = limit_of(RowSpan<T>(r, a.columns)), threads = ptx::ntid_x();
        own = Stats<F>::none();
        each_pack<P>(limit, threads, [&](int i) {
          uint4 v[n];
#pragma unroll
          for (int k = 0; k < n; ++k) v[k] = get(k, i, threads);
          keep_packed(v);
          add_pack(Others<F>{a.f}, v, total.max, own.sum, row, 0);
        });
        if (has_edges) a.f.add_others(edge_value, total.max, own.sum);
#pragma unroll
        for (int s = 0; s < F::sums; ++s) own.sum[s] = warp_sum_in_double(own.sum[s], 32);
        const C dominant = total.max;
        total = exchange(own);
        total.max = dominant;
      }
    const auto finish = a.f.finish(own.max, total.max, total.sum, row);
    if (a.out) {  // stores the row
      const RowSpan<T> span(r, a.columns);
      T* const to = a.out + r * a.columns;
      auto* const packs = reinterpret_cast<uint4*>(to + span.head) + (begin - span.shift);
      const int limit = limit_of(span), threads = ptx::ntid_x();
      each_pack<P>(limit, threads, [&](int i) {
        uint4 v[n];
#pragma unroll
        for (int k = 0; k < n; ++k) v[k] = get(k, i, threads);
        keep_packed(v);
        const std::int64_t column =
            span.head + static_cast<std::int64_t>(begin - span.shift + i * threads) * E;
        const uint4 y = put_pack<F::caches>(a.f, v, finish, row, column);
        store_pack(packs + i * threads, y, has(span, limit, i, threads));
      });
      if (has_edge) {
        a.f.template put<F::caches>(edge_value, finish, row, span.edge(thread));
        to[span.edge(thread)] = narrow<T>(edge_value[0][0]);
      }
    }
    if (rank == 0 && thread == 0) a.f.result(r, row, total.max, total.sum);
  }
  exchange.end();
}

}  // namespace bobbin::cuda
