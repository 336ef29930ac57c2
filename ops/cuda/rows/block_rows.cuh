// Algorithm::block, for long rows: one block, a cluster, or several blocks that all run at the same time hold
// a row in shared memory. With 16 packs per thread, four of them are in registers. Each thread accesses only
// its own packs, so threads wait for each other in the exchange alone. Most loads go to shared memory
// directly, because registers could not hold that many loads in flight. Blocks are small, and a
// multiprocessor runs several: some load while others compute or store.
#pragma once
#include "ops/cuda/rows/exchange.cuh"

namespace bobbin::cuda {

/// The part of a row that one thread of block_rows holds, and the steps on it: P packs of each input, the
/// first ones in registers, and one edge element in the first block of the team.
///
/// Each step computes the thread's range and reads blockDim.x anew: values kept between steps would take
/// registers that a pack needs.
template<class F, int P>
struct BlockRow {
  using T = typename F::Storage;
  using C = Compute<T>;
  using Row = typename F::Row;
  static constexpr int n = F::inputs, E = per_pack<T>, in_registers = packs_in_registers(P * n);

  const RowArgs<F>& a;
  const std::int64_t r;
  const int packs_per_block;
  const int begin;  ///< the thread's first pack, counted from a multiple of 128 bytes
  const int thread = static_cast<int>(threadIdx.x);

  uint4 x[in_registers ? in_registers : 1];
  T edge[n];
  C edge_value[n][1];
  bool edge_valid;  ///< whether this thread has an edge element

  /// The range of a row that this thread holds: pack i is the row's pack first + i * threads. Only the first
  /// pack can lie before the row.
  struct Range {
    RowSpan<T> span;
    int first, limit, threads;

    __device__ __forceinline__ explicit Range(const BlockRow& b)
        : span(b.r, b.a.columns),
          first(b.begin - span.shift),
          limit(smaller(b.packs_per_block - b.thread, span.packs - first)),
          threads(ptx::ntid_x()) {}
    __device__ __forceinline__ bool has(int i) const { return i * threads < limit && (i > 0 || first >= 0); }
    __device__ __forceinline__ std::int64_t column(int i) const {
      return span.head + static_cast<std::int64_t>(first + i * threads) * E;
    }
  };

  /// Whether the row has edge elements, and this block holds them.
  __device__ __forceinline__ bool has_edges() const { return begin == thread && a.columns % E != 0; }

  // Pack i of input k.
  __device__ __forceinline__ uint4* in_shared(int k, int i, int threads) const {
    return shared_packs() + thread + (k * P + i - in_registers) * threads;
  }
  __device__ __forceinline__ uint4 get(int k, int i, int threads) const {
    return k * P + i < in_registers ? x[k * P + i < in_registers ? k * P + i : 0] : *in_shared(k, i, threads);
  }
  __device__ __forceinline__ void set_first_input(int i, int threads, const uint4& v) {
    if (i < in_registers)
      x[i < in_registers ? i : 0] = v;
    else
      *in_shared(0, i, threads) = v;
  }

  /// Loads the packs in registers and the edge element, and starts the copy of the other packs.
  __device__ __forceinline__ void load() {
    const Range range(*this);
#pragma unroll
    for (int k = 0; k < n; ++k) {
      const T* const from = a.in[k] + r * a.pitch[k];
      const auto* const packs = reinterpret_cast<const uint4*>(from + range.span.head) + range.first;
#pragma unroll
      for (int i = 0; i < P; ++i)
        if (k * P + i < in_registers)
          x[k * P + i] = load_pack(packs + i * range.threads, range.has(i), padding<F>(k));
        else if (range.has(i))
          copy_pack(in_shared(k, i, range.threads), packs + i * range.threads);
        else
          *in_shared(k, i, range.threads) = padding<F>(k);
      if (has_edges() && thread < range.span.edges) edge[k] = from[range.span.edge(thread)];
    }
  }

  /// Waits for the copies.
  __device__ __forceinline__ void finish_load() {
    edge_valid = has_edges() && thread < RowSpan<T>(r, a.columns).edges;
    if constexpr (P * n > in_registers) await_copies();
#pragma unroll
    for (int k = 0; k < n; ++k) edge_value[k][0] = edge_valid ? widen<T>(edge[k]) : padding_element<F>(k);
  }

  __device__ __forceinline__ void mask(const Row& row) {
    if constexpr (is_masked<F>) {
      const Range range(*this);
#pragma unroll
      for (int i = 0; i < P; ++i) {
        if (!range.has(i)) continue;
        uint4 v = get(0, i, range.threads);
        mask_pack(a.f, v, row, range.column(i));
        set_first_input(i, range.threads, v);
      }
      if (edge_valid) mask_element(a.f, edge_value[0], row, range.span.edge(thread));
    }
  }

  /// The maximum of the elements that the warp holds.
  __device__ __forceinline__ C max() const {
    const int threads = ptx::ntid_x();
    uint4 m = get(0, 0, threads);
#pragma unroll
    for (int i = 1; i < P; ++i) m = larger_pack<T>(m, get(0, i, threads));
    return warp_max(larger(largest<T>(m), edge_value[0][0]), 32);
  }

  /// The maximum and the sums of the elements that the warp holds.
  __device__ __forceinline__ Stats<F> reduce(const Row& row) {
    Stats<F> own = Stats<F>::none();
    if constexpr (F::has_max) own.max = max();
    const Range range(*this);
#pragma unroll
    for (int i = 0; i < P; ++i) {
      uint4 v[n];
#pragma unroll
      for (int k = 0; k < n; ++k) v[k] = get(k, i, range.threads);
      add_pack(a.f, v, own.max, own.sum, row, range.has(i) ? range.column(i) : a.columns);
      if constexpr (F::caches) set_first_input(i, range.threads, v[0]);
    }
    if (has_edges())
      a.f.add(edge_value, own.max, own.sum, row, edge_valid ? range.span.edge(thread) : a.columns);
#pragma unroll
    for (int s = 0; s < F::sums; ++s) own.sum[s] = warp_sum_in_double(own.sum[s], 32);
    return own;
  }

  __device__ __forceinline__ void store(const Row& row, const typename F::Finish& finish) {
    const Range range(*this);
    T* const to = a.out + r * a.columns;
    auto* const packs = reinterpret_cast<uint4*>(to + range.span.head) + range.first;
#pragma unroll
    for (int i = 0; i < P; ++i) {
      uint4 v[n];
#pragma unroll
      for (int k = 0; k < n; ++k) v[k] = get(k, i, range.threads);
      keep_packed(v);
      const uint4 y = put_pack<F::caches>(a.f, v, finish, row, range.column(i));
      store_pack(packs + i * range.threads, y, range.has(i));
    }
    if (edge_valid) {
      a.f.template put<F::caches>(edge_value, finish, row, range.span.edge(thread));
      to[range.span.edge(thread)] = narrow<T>(edge_value[0][0]);
    }
  }
};

/// Each block of a team holds `packs_per_block` packs of a row, P of each input per thread.
template<class F, int P>
__global__ void __launch_bounds__(max_block_threads(sizeof(typename F::Storage)), 1)
    block_rows(const RowArgs<F> a, const Team team, const int packs_per_block) {
  using Part = BlockRow<F, P>;
  const int thread = static_cast<int>(threadIdx.x);
  const int begin = static_cast<int>(blockIdx.x) % team.blocks * packs_per_block + thread;
  if (!a.early) await_previous();
  auto* const exchange_shared = reinterpret_cast<Stats<F>*>(
      shared_packs() + static_cast<int>(blockDim.x) * (P * F::inputs - Part::in_registers));
  Exchange<F> exchange(a.f, team, exchange_shared, a.rows);

  for (std::int64_t r = blockIdx.x / team.blocks; r < a.rows; r += team.count) {
    Part part{a, r, packs_per_block, begin};
    part.load();
    const typename F::Row row = a.f.row(r);
    part.finish_load();
    part.mask(row);
    const Stats<F> own = part.reduce(row);
    const Stats<F> total = exchange(own);
    const auto finish = a.f.finish(own.max, total.max, total.sum, row);
    if (a.out) part.store(row, finish);
    if (begin == 0) a.f.result(r, row, total.max, total.sum);
  }
  exchange.end();
}

}  // namespace bobbin::cuda
