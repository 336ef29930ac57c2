// Algorithm::two_pass, for rows that are too long for the shared memory of the chip: blocks read their part
// of a row in chunks to reduce it, and after the exchange read it again to write the output. The second pass
// starts at the end, which the caches still hold.
#pragma once
#include "ops/cuda/rows/exchange.cuh"

namespace bobbin::cuda {

/// The part of one row that a block of two_pass_rows reads, and the steps on it.
template<class F>
struct TwoPassRow {
  using T = typename F::Storage;
  using C = Compute<T>;
  using Row = typename F::Row;
  static constexpr int n = F::inputs, E = per_pack<T>, P = two_pass_packs(n), chunk = P * two_pass_threads;

  const RowArgs<F>& a;
  const std::int64_t r;
  const Row& row;
  const RowSpan<T>& span;
  const int packs;           ///< of this block
  const std::int64_t start;  ///< column where they begin
  const bool has_edge;       ///< whether this thread has an edge element
  const int thread = static_cast<int>(threadIdx.x);

  /// Loads this thread's packs of the chunk that begins at pack `from`.
  __device__ __forceinline__ void load(int from, uint4 (&x)[P][n]) const {
#pragma unroll
    for (int i = 0; i < P; ++i)
#pragma unroll
      for (int k = 0; k < n; ++k) {
        const int p = from + thread + i * two_pass_threads;
        x[i][k] = load_pack(a.in[k] + r * a.pitch[k] + start + static_cast<std::int64_t>(p) * E, p < packs,
                            padding<F>(k));
        if (k == 0 && p < packs) mask_pack(a.f, x[i][0], row, start + static_cast<std::int64_t>(p) * E);
      }
  }
  /// The column of pack i of the chunk.
  __device__ __forceinline__ std::int64_t column(int from, int i) const {
    const int p = from + thread + i * two_pass_threads;
    return p < packs ? start + static_cast<std::int64_t>(p) * E : a.columns;
  }
  __device__ __forceinline__ void load_edge(C (&v)[n][1]) const {
#pragma unroll
    for (int k = 0; k < n; ++k) v[k][0] = widen<T>(a.in[k][r * a.pitch[k] + span.edge(thread)]);
    mask_element(a.f, v[0], row, span.edge(thread));
  }
  /// Makes the sums relative to a maximum that includes `max`.
  __device__ __forceinline__ void raise(Stats<F>& s, C max) const {
    if constexpr (!F::has_max) return;
    max = larger(max, s.max);
    a.f.rescale(s.sum, s.max, max);
    s.max = max;
  }

  /// The maximum and the sums of the elements that this thread reads, by f.add, beginning with `own`.
  template<class Add>
  __device__ __forceinline__ Stats<F> reduce(const Add& f, Stats<F> own) const {
    uint4 x[P][n];
    for (int from = 0; from < packs; from += chunk) {
      load(from, x);
      raise(own, max_of<F>(x));
      SumOf<F> part[F::sums] = {};  // adding the sums of short parts rounds less
#pragma unroll
      for (int i = 0; i < P; ++i) {
        add_pack(f, x[i], own.max, part, row, column(from, i));
        find_in_pack(f, x[i], own.max);
      }
#pragma unroll
      for (int i = 0; i < F::sums; ++i) own.sum[i] += part[i];
    }
    if (has_edge) {
      C v[n][1];
      load_edge(v);
      raise(own, v[0][0]);
      f.add(v, own.max, own.sum, row, span.edge(thread));
      find_dominant(f, v, own.max);
    }
    return own;
  }

  __device__ __forceinline__ void store(const typename F::Finish& finish) const {
    uint4 x[P][n];
    T* const to = a.out + r * a.columns;
    for (int from = (packs - 1) / chunk * chunk; from >= 0; from -= chunk) {
      load(from, x);
#pragma unroll
      for (int i = 0; i < P; ++i) {
        const uint4 y = put_pack<false>(a.f, x[i], finish, row, column(from, i));
        store_pack(to + column(from, i), y, column(from, i) < a.columns);
      }
    }
    if (has_edge) {
      C v[n][1];
      load_edge(v);
      a.f.template put<false>(v, finish, row, span.edge(thread));
      to[span.edge(thread)] = narrow<T>(v[0][0]);
    }
  }
};

/// Each block of a team reads `packs_per_block` packs of a row.
template<class F>
__global__ void __launch_bounds__(two_pass_threads, sizeof(typename F::Storage) == 8 ? 1 : 2)
    two_pass_rows(const RowArgs<F> a, const Team team, const int packs_per_block) {
  using T = typename F::Storage;
  const int thread = static_cast<int>(threadIdx.x);
  const int rank = static_cast<int>(blockIdx.x) % team.blocks;
  if (!a.early) await_previous();
  Exchange<F> exchange(a.f, team, reinterpret_cast<Stats<F>*>(shared_packs()), a.rows);

  for (std::int64_t r = blockIdx.x / team.blocks; r < a.rows; r += team.count) {
    const RowSpan<T> span(r, a.columns);
    const std::int64_t begin = static_cast<std::int64_t>(rank) * packs_per_block;
    const int packs =
        static_cast<int>(smaller(static_cast<std::int64_t>(packs_per_block), span.packs - begin));
    const typename F::Row row = a.f.row(r);
    const TwoPassRow<F> part{
        a, r, row, span, packs, span.head + begin * per_pack<T>, rank == 0 && thread < span.edges};
    Stats<F> total = exchange(warp_merge(a.f, part.reduce(a.f, Stats<F>::none()), 32));
    if constexpr (has_dominant<F>)
      if (total.dominated()) {
        const Compute<T> dominant = total.max;
        Stats<F> own = Stats<F>::none();
        own.max = dominant;
        own = part.reduce(Others<F>{a.f}, own);
        own.max = Stats<F>::none().max;
        total = exchange(warp_merge(a.f, own, 32));
        total.max = dominant;
      }
    const auto finish = a.f.finish(total.max, total.max, total.sum, row);
    if (a.out) part.store(finish);
    if (rank == 0 && thread == 0) a.f.result(r, row, total.max, total.sum);
  }
  exchange.end();
}

}  // namespace bobbin::cuda
