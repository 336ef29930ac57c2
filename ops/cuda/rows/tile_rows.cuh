// Algorithm::tile, for short rows with edge elements, and short rows along another axis than the last: a
// block copies a range of whole slabs to shared memory in packs, and lanes read the elements of their row
// from there.
#pragma once
#include "ops/cuda/rows/functor.cuh"

namespace bobbin::cuda {

/// The slabs that a block of tile_rows holds. A slab is the columns x inner elements with one outer index:
/// one row where inner == 1.
template<class F>
struct Tile {
  using T = typename F::Storage;
  using C = Compute<T>;
  using Row = typename F::Row;
  static constexpr int n = F::inputs, E = per_pack<T>;

  const RowArgs<F>& a;
  const std::int64_t outer;
  const int inner, slabs;
  const int columns = static_cast<int>(a.columns), slab = columns * inner;
  const std::int64_t first = blockIdx.x * static_cast<std::int64_t>(slabs);  ///< slab
  const int slabs_here = static_cast<int>(smaller(static_cast<std::int64_t>(slabs), outer - first));
  const int elements = slabs_here * slab, packs = elements / E;
  const int input_pitch = slabs * slab / E;  ///< packs between inputs

  __device__ __forceinline__ T* in_shared(int k) const {
    return reinterpret_cast<T*>(shared_packs() + k * input_pitch);
  }

  __device__ __forceinline__ void load() const {
    const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int k = 0; k < n; ++k) {
      const T* const from = a.in[k] + first * slab;
      for (int p = thread; p < packs; p += tile_threads)
        copy_pack(shared_packs() + k * input_pitch + p, reinterpret_cast<const uint4*>(from) + p);
      const int rest = packs * E + thread;
      if (rest < elements) in_shared(k)[rest] = from[rest];
    }
    await_copies();
    __syncthreads();
  }

  __device__ __forceinline__ void store() const {
    const int thread = static_cast<int>(threadIdx.x);
    __syncthreads();
    T* const to = a.out + first * slab;
    for (int p = thread; p < packs; p += tile_threads)
      store_pack(reinterpret_cast<uint4*>(to) + p, shared_packs()[p]);
    const int rest = packs * E + thread;
    if (rest < elements) to[rest] = in_shared(0)[rest];
  }

  /// Where row q of the tile begins.
  __device__ __forceinline__ T* row_in_shared(int q) const {
    return in_shared(0) + q / inner * slab + q % inner;
  }

  /// Reads every `lanes`th element of a row, from `lane` on, and computes the row's maximum.
  __device__ __forceinline__ C load_row(const T* at, bool valid, int lane, int lanes, const Row& row,
                                        C (&v)[tile_elements][n][1]) const {
    const T* from[n];
#pragma unroll
    for (int k = 0; k < n; ++k) from[k] = at + k * input_pitch * E;
    C max = Stats<F>::none().max;
#pragma unroll
    for (int j = 0; j < tile_elements; ++j) {
      if (j * lanes >= columns) break;
      const int c = lane + j * lanes;
#pragma unroll
      for (int k = 0; k < n; ++k)
        v[j][k][0] = valid && c < columns ? widen<T>(from[k][c * inner]) : padding_element<F>(k);
      if (valid && c < columns) mask_element(a.f, v[j][0], row, c);
      if constexpr (F::has_max) max = larger(max, v[j][0][0]);
    }
    if constexpr (F::has_max) max = warp_max(max, lanes);
    return max;
  }

  __device__ __forceinline__ void add_row(int lane, int lanes, const Row& row, C (&v)[tile_elements][n][1],
                                          Stats<F>& s) const {
#pragma unroll
    for (int j = 0; j < tile_elements; ++j) {
      if (j * lanes >= columns) break;
      const int c = lane + j * lanes;
      a.f.add(v[j], s.max, s.sum, row, c < columns ? c : a.columns);
      find_dominant(a.f, v[j], s.max);
    }
    warp_sums(s.sum, lanes);
    if constexpr (has_dominant<F>) add_others(lanes, v, s);
  }

  /// Replaces the sums of rows that an element dominates.
  __device__ __forceinline__ void add_others(int lanes, C (&v)[tile_elements][n][1], Stats<F>& s) const {
    if (!__any_sync(~0u, s.dominated())) return;
    merge_dominant<F>(s.max, lanes);
    Stats<F> others = Stats<F>::none();
#pragma unroll
    for (int j = 0; j < tile_elements; ++j) {
      if (j * lanes >= columns) break;
      a.f.add_others(v[j], s.max, others.sum);
    }
    warp_sums(others.sum, lanes);
    if (s.dominated())
#pragma unroll
      for (int i = 0; i < F::sums; ++i) s.sum[i] = others.sum[i];
  }

  /// Writes the output over the row's first input.
  __device__ __forceinline__ void store_row(T* at, int lane, int lanes, const Row& row,
                                            const typename F::Finish& finish,
                                            C (&v)[tile_elements][n][1]) const {
#pragma unroll
    for (int j = 0; j < tile_elements; ++j) {
      const int c = lane + j * lanes;
      if (c >= columns) break;
      a.f.template put<F::caches>(v[j], finish, row, c);
      at[c * inner] = narrow<T>(v[j][0][0]);
    }
  }
};

/// Each block takes `slabs` slabs, whose size is a multiple of 16 bytes; `lanes` lanes hold a row.
template<class F>
__global__ void __launch_bounds__(tile_threads, sizeof(typename F::Storage) == 8 ? 1 : 4)
    tile_rows(const RowArgs<F> a, const std::int64_t outer, const int inner, const int slabs,
              const int lanes) {
  using T = typename F::Storage;
  const Tile<F> tile{a, outer, inner, slabs};
  if (!a.early) await_previous();
  tile.load();
  const int thread = static_cast<int>(threadIdx.x), lane = thread & (lanes - 1);
  const int rows = tile.slabs_here * inner, rows_at_once = tile_threads / lanes;
  for (int base = thread / 32 * 32 / lanes; base < rows; base += rows_at_once) {  // the same for a whole warp
    const int q = base + thread % 32 / lanes;
    const bool valid = q < rows;
    const std::int64_t r = tile.first * inner + q;
    T* const at = tile.row_in_shared(q);
    typename F::Row row{};
    if (valid) row = a.f.row(r);
    Compute<T> v[tile_elements][F::inputs][1];
    Stats<F> own = Stats<F>::none();
    own.max = tile.load_row(at, valid, lane, lanes, row, v);
    tile.add_row(lane, lanes, row, v, own);
    if (!valid) continue;
    const auto finish = a.f.finish(own.max, own.max, own.sum, row);
    if (a.out) tile.store_row(at, lane, lanes, row, finish, v);
    if (lane == 0) a.f.result(r, row, own.max, own.sum);
  }
  if (a.out) tile.store();
}

}  // namespace bobbin::cuda
