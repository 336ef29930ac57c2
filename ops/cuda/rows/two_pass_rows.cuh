// Rows longer than the chip can hold: blocks go over their share in chunks, adding up as they go, and after
// the exchange once more, from the end, where the caches still have it.
#pragma once
#include "ops/cuda/rows/exchange.cuh"

namespace bobbin::cuda {

template<class F>
__global__ void __launch_bounds__(chunk_threads, sizeof(typename F::Storage) == 8 ? 1 : 2)
    chunk_rows(const RowArgs<F> a, const Team team, const int share) {
  using T = typename F::Storage;
  using C = Compute<T>;
  constexpr int n = F::inputs, E = per_pack<T>, P = chunk_packs(n), chunk = P * chunk_threads;
  extern __shared__ uint4 shared[];
  const int thread = static_cast<int>(threadIdx.x);
  const int rank = static_cast<int>(blockIdx.x) % team.blocks;
  if (!a.early) await_previous();
  Exchange<F> exchange(a.f, team, reinterpret_cast<Stats<F>*>(shared), a.rows);

  for (std::int64_t r = blockIdx.x / team.blocks; r < a.rows; r += team.count) {
    const Span<T> span(r, a.columns);
    const std::int64_t begin = static_cast<std::int64_t>(rank) * share;
    const int mine = static_cast<int>(smaller(static_cast<std::int64_t>(share), span.packs - begin));
    const std::int64_t start = span.head + begin * E;  // column of the share
    const typename F::Row row = a.f.row(r);
    uint4 x[P][n];
    const auto load = [&](int from) {
#pragma unroll
      for (int i = 0; i < P; ++i)
#pragma unroll
        for (int k = 0; k < n; ++k) {
          const int p = from + thread + i * chunk_threads;
          x[i][k] = load_pack(a.in[k] + r * a.pitch[k] + start + static_cast<std::int64_t>(p) * E, p < mine,
                              blank<F>(k));
          if (k == 0 && p < mine) mask_pack(a.f, x[i][0], row, start + static_cast<std::int64_t>(p) * E);
        }
    };
    const auto column = [&](int from, int i) {
      const int p = from + thread + i * chunk_threads;
      return p < mine ? start + static_cast<std::int64_t>(p) * E : a.columns;
    };

    Stats<F> own = Stats<F>::none();
    const auto raise = [&](C max) {
      if constexpr (!F::peak) return;
      max = larger(max, own.max);
      a.f.rescale(own.sum, own.max, max);
      own.max = max;
    };
    for (int from = 0; from < mine; from += chunk) {
      load(from);
      raise(peak<F>(x));
      C part[F::sums] = {};  // short sums of sums round less
#pragma unroll
      for (int i = 0; i < P; ++i) add_pack(a.f, x[i], own.max, part, row, column(from, i));
#pragma unroll
      for (int i = 0; i < F::sums; ++i) own.sum[i] += part[i];
    }
    const bool has_edge = rank == 0 && thread < span.edges;
    C beside[n][1];
    const auto load_edge = [&] {
#pragma unroll
      for (int k = 0; k < n; ++k) beside[k][0] = widen<T>(a.in[k][r * a.pitch[k] + span.edge(thread)]);
      mask_element(a.f, beside[0], row, span.edge(thread));
    };
    if (has_edge) {
      load_edge();
      raise(beside[0][0]);
      a.f.add(beside, own.max, own.sum, row, span.edge(thread));
    }
    const Stats<F> total = exchange(lanes_merge(a.f, own, 32));
    const auto finish = a.f.finish(total.max, total.max, total.sum, row);
    if (a.out) {
      T* const to = a.out + r * a.columns;
      for (int from = (mine - 1) / chunk * chunk; from >= 0; from -= chunk) {
        load(from);
#pragma unroll
        for (int i = 0; i < P; ++i) {
          const uint4 y = put_pack<false>(a.f, x[i], finish, row, column(from, i));
          store_pack(to + column(from, i), y, column(from, i) < a.columns);
        }
      }
      if (has_edge) {
        load_edge();
        a.f.template put<false>(beside, finish, row, span.edge(thread));
        to[span.edge(thread)] = narrow<T>(beside[0][0]);
      }
    }
    if (rank == 0 && thread == 0) a.f.result(r, row, total.max, total.sum);
  }
  exchange.end();
}

}  // namespace bobbin::cuda
