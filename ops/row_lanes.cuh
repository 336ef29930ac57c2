// Short rows: a team of 1 to 32 lanes of a warp holds a row in registers, and a warp several rows. Teams take
// U rows at a time so that four packs of each input or more are in flight a thread.
#pragma once
#include "row_functor.cuh"

namespace bobbin::cuda {

/// Teams of `lanes` lanes (a power of two), P packs a lane. Rows that are no multiple of 16 bytes want U == 1
/// and at least 16 lanes: each lane then holds one element beside the packs. `staged`: loads go to shared
/// memory first, which keeps more of them under way; where there are few rows the way round only takes time.
template<class F, int P, int U>
__global__ void __launch_bounds__(lanes_threads)
    lane_rows(const RowArgs<F> a, const int lanes, const bool staged) {
  using T = typename F::Storage;
  using C = Compute<T>;
  constexpr int n = F::inputs;
  extern __shared__ uint4 shared[];
  uint4* const place = shared + threadIdx.x;  // of this thread's next pack: lanes_threads further
  const int lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const int lane_bits = __ffs(lanes) - 1, in_warp = 32 >> lane_bits;
  const std::int64_t warp = (blockIdx.x * static_cast<std::int64_t>(blockDim.x) + threadIdx.x) / 32;
  const std::int64_t first = warp * in_warp * U + (static_cast<int>(threadIdx.x % 32) >> lane_bits);
  const bool odd = U == 1 && a.columns % per_pack<T> != 0;  // elsewhere there are no edges

  if (!a.early) await_previous();
  uint4 x[U][P][n];
  T edge[n];
  typename F::Row row[U]{};
#pragma unroll
  for (int u = 0; u < U; ++u) {
    const std::int64_t r = first + u * in_warp;
    const Span<T> span(r, a.columns);
    const bool there = r < a.rows;
#pragma unroll
    for (int k = 0; k < n; ++k) {
      const T* const from = a.in[k] + r * a.pitch[k];
#pragma unroll
      for (int i = 0; i < P; ++i) {
        const int p = lane + i * lanes;
        const T* const pack = from + span.head + static_cast<std::int64_t>(p) * per_pack<T>;
        const bool mine = there && p < span.packs;
        if (!staged)
          x[u][i][k] = load_pack(pack, mine, blank<F>(k));
        else if (mine)
          copy_pack(place + ((u * P + i) * n + k) * lanes_threads, pack);
      }
      if (odd && there && lane < span.edges) edge[k] = from[span.edge(lane)];
    }
  }
#pragma unroll
  for (int u = 0; u < U; ++u)
    if (first + u * in_warp < a.rows) row[u] = a.f.row(first + u * in_warp);

  if (staged) {
    await_copies();
#pragma unroll
    for (int u = 0; u < U; ++u) {
      const bool there = first + u * in_warp < a.rows;
      const Span<T> span(first + u * in_warp, a.columns);
#pragma unroll
      for (int i = 0; i < P; ++i)
#pragma unroll
        for (int k = 0; k < n; ++k)
          x[u][i][k] = there && lane + i * lanes < span.packs ? place[((u * P + i) * n + k) * lanes_threads]
                                                              : blank<F>(k);
    }
  }
  if constexpr (is_masked<F>)
#pragma unroll
    for (int u = 0; u < U; ++u) {
      const Span<T> span(first + u * in_warp, a.columns);
#pragma unroll
      for (int i = 0; i < P; ++i) {
        const int p = lane + i * lanes;
        if (first + u * in_warp < a.rows && p < span.packs)
          mask_pack(a.f, x[u][i][0], row[u], span.head + static_cast<std::int64_t>(p) * per_pack<T>);
      }
    }
  Stats<F> own[U];
#pragma unroll
  for (int u = 0; u < U; ++u) own[u].max = peak<F>(x[u]);
  C edge_value[n][1];
  const Span<T> edge_span(first, a.columns);
  const bool edge_there = odd && first < a.rows && lane < edge_span.edges;
  if constexpr (U == 1) {
#pragma unroll
    for (int k = 0; k < n; ++k) edge_value[k][0] = edge_there ? widen<T>(edge[k]) : blank_element<F>(k);
    if (edge_there) mask_element(a.f, edge_value[0], row[0], edge_span.edge(lane));
    if constexpr (F::peak) own[0].max = larger(own[0].max, edge_value[0][0]);
  }
  if constexpr (F::peak)
#pragma unroll
    for (int u = 0; u < U; ++u) own[u].max = lanes_max(own[u].max, lanes);

#pragma unroll
  for (int u = 0; u < U; ++u) {
    const Span<T> span(first + u * in_warp, a.columns);
#pragma unroll
    for (int s = 0; s < F::sums; ++s) own[u].sum[s] = 0;
#pragma unroll
    for (int i = 0; i < P; ++i) {
      const int p = lane + i * lanes;
      const auto column = p < span.packs ? span.head + static_cast<std::int64_t>(p) * per_pack<T> : a.columns;
      add_pack(a.f, x[u][i], own[u].max, own[u].sum, row[u], column);
    }
    if (odd) a.f.add(edge_value, own[u].max, own[u].sum, row[u], edge_there ? span.edge(lane) : a.columns);
  }
#pragma unroll
  for (int u = 0; u < U; ++u) lanes_sums(own[u].sum, lanes);

#pragma unroll
  for (int u = 0; u < U; ++u) {
    const std::int64_t r = first + u * in_warp;
    if (r >= a.rows) continue;
    const Span<T> span(r, a.columns);
    const auto finish = a.f.finish(own[u].max, own[u].max, own[u].sum, row[u]);
    if (a.out) {
      T* const to = a.out + r * a.columns;
#pragma unroll
      for (int i = 0; i < P; ++i) {
        const int p = lane + i * lanes;
        const auto column = span.head + static_cast<std::int64_t>(p) * per_pack<T>;
        keep_packed(x[u][i]);
        const uint4 y = put_pack<F::keeps>(a.f, x[u][i], finish, row[u], column);
        store_pack(to + column, y, p < span.packs);
      }
      if (odd && edge_there) {
        a.f.template put<F::keeps>(edge_value, finish, row[u], span.edge(lane));
        to[span.edge(lane)] = narrow<T>(edge_value[0][0]);
      }
    }
    if (lane == 0) a.f.result(r, row[u], own[u].max, own[u].sum);
  }
}

}  // namespace bobbin::cuda
