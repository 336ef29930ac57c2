// Short rows that are no multiple of 16 bytes, and short rows along other axes than the last: a block moves a
// flat run of whole slabs (columns x inner elements, one row with inner == 1) through shared memory in packs,
// and teams of lanes take their rows from there, element by element.
#pragma once
#include "ops/cuda/rows/functor.cuh"

namespace bobbin::cuda {

/// `slabs` a block, such that they are a multiple of 16 bytes; teams of `lanes` lanes.
template<class F>
__global__ void __launch_bounds__(tile_threads, sizeof(typename F::Storage) == 8 ? 1 : 4)
    tile_rows(const RowArgs<F> a, const std::int64_t outer, const int inner, const int slabs,
              const int lanes) {
  using T = typename F::Storage;
  using C = Compute<T>;
  constexpr int n = F::inputs, E = per_pack<T>;
  extern __shared__ uint4 shared[];
  const int columns = static_cast<int>(a.columns), slab = columns * inner, thread = threadIdx.x;
  const std::int64_t first = blockIdx.x * static_cast<std::int64_t>(slabs);
  const int here = static_cast<int>(smaller(static_cast<std::int64_t>(slabs), outer - first));
  const int elements = here * slab, packs = elements / E, stride = slabs * slab / E;  // packs of a full tile
  const auto tile = [&](int k) { return reinterpret_cast<T*>(shared + k * stride); };

  if (!a.early) await_previous();
#pragma unroll
  for (int k = 0; k < n; ++k) {
    const T* const from = a.in[k] + first * slab;
    for (int p = thread; p < packs; p += tile_threads)
      copy_pack(shared + k * stride + p, reinterpret_cast<const uint4*>(from) + p);
    const int rest = packs * E + thread;
    if (rest < elements) tile(k)[rest] = from[rest];
  }
  await_copies();
  __syncthreads();

  const int lane = thread & (lanes - 1), rows = here * inner, teams = tile_threads / lanes;
  for (int base = thread / 32 * 32 / lanes; base < rows; base += teams) {  // whole warps go on together
    const int q = base + thread % 32 / lanes;
    const bool there = q < rows;
    const std::int64_t r = first * inner + q;
    T* const at = tile(0) + q / inner * slab + q % inner;
    typename F::Row row{};
    if (there) row = a.f.row(r);
    C v[tile_elements][n][1];
    Stats<F> own = Stats<F>::none();
#pragma unroll
    for (int j = 0; j < tile_elements; ++j) {
      if (j * lanes >= columns) break;
      const int c = lane + j * lanes;
#pragma unroll
      for (int k = 0; k < n; ++k)
        v[j][k][0] = there && c < columns ? widen<T>(at[k * stride * E + c * inner]) : blank_element<F>(k);
      if (there && c < columns) mask_element(a.f, v[j][0], row, c);
      if constexpr (F::peak) own.max = larger(own.max, v[j][0][0]);
    }
    if constexpr (F::peak) own.max = lanes_max(own.max, lanes);
#pragma unroll
    for (int j = 0; j < tile_elements; ++j) {
      if (j * lanes >= columns) break;
      const int c = lane + j * lanes;
      a.f.add(v[j], own.max, own.sum, row, c < columns ? c : a.columns);
    }
    lanes_sums(own.sum, lanes);
    if (!there) continue;
    const auto finish = a.f.finish(own.max, own.max, own.sum, row);
    if (a.out) {
#pragma unroll
      for (int j = 0; j < tile_elements; ++j) {
        const int c = lane + j * lanes;
        if (c >= columns) break;
        a.f.template put<F::keeps>(v[j], finish, row, c);
        at[c * inner] = narrow<T>(v[j][0][0]);
      }
    }
    if (lane == 0) a.f.result(r, row, own.max, own.sum);
  }

  if (a.out) {
    __syncthreads();
    T* const to = a.out + first * slab;
    for (int p = thread; p < packs; p += tile_threads)
      store_pack(reinterpret_cast<uint4*>(to) + p, shared[p]);
    const int rest = packs * E + thread;
    if (rest < elements) to[rest] = tile(0)[rest];
  }
}

}  // namespace bobbin::cuda
