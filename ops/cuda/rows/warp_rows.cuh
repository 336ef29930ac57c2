// Short rows: a team of 1 to 32 lanes of a warp holds a row in registers, and a warp several rows.
#pragma once
#include "core/cuda/strided.cuh"
#include "ops/cuda/rows/functor.cuh"

namespace bobbin::cuda {

/// Teams of `lanes` lanes (a power of two), P packs a lane. Rows that are no multiple of 16 bytes want at
/// least 16 lanes: each lane then holds one element beside the packs. `staged`: loads go to shared memory
/// first, which keeps more of them under way; where there are few rows the way round only takes time.
/// `together`, for teams too small to read 128 bytes of a row at a time: a warp fetches and writes the packs
/// of all its rows side by side, and lanes find theirs in shared memory.
template<class F, int P, bool together>
__global__ void __launch_bounds__(lanes_threads)
    lane_rows(const RowArgs<F> a, const int lanes, const bool staged, const Divider by_packs) {
  using T = typename F::Storage;
  using C = Compute<T>;
  constexpr int n = F::inputs;
  extern __shared__ uint4 shared[];
  const int of_warp = static_cast<int>(threadIdx.x) % 32, lane = of_warp & (lanes - 1);
  const int lane_bits = __ffs(lanes) - 1, in_warp = 32 >> lane_bits, team = of_warp >> lane_bits;
  const std::int64_t warp = (blockIdx.x * static_cast<std::int64_t>(blockDim.x) + threadIdx.x) / 32;
  const std::int64_t first = warp * in_warp, r = first + team;  // of the warp, and this team's
  const bool there = r < a.rows;
  const bool odd = !together && a.columns % per_pack<T> != 0;  // elsewhere there are no edges
  const Span<T> span(r, a.columns);
  const auto column = [&](int i) { return span.head + (lane + i * lanes) * per_pack<T>; };
  const auto has = [&](int i) { return there && lane + i * lanes < span.packs; };

  // Where this thread's packs are in shared memory: among those of the warp's rows, or side by side.
  const int packs = static_cast<int>(by_packs.d), pitch = shared_pitch(packs, lanes);
  const int of_input = together ? in_warp * pitch : P * lanes_threads;
  uint4* const room = shared + (together ? threadIdx.x / 32 * n * of_input : threadIdx.x);
  uint4* const own_room = room + (together ? team * pitch + lane : 0);
  const auto place = [&](int i, int k) {
    return own_room + i * (together ? lanes : lanes_threads) + k * of_input;
  };
  // Calls f(elements, row, place) for those packs of the warp's rows that this lane moves: so many further
  // than its first.
  const auto each_of_warp = [&](auto&& f) {
    const int left = static_cast<int>(smaller(a.rows - first, std::int64_t{in_warp})) * packs - of_warp;
    uint4* const places = room + of_warp;
#pragma unroll
    for (int m = 0; m < P * 32; m += 32)
      if (m < left) {
        const int row = static_cast<int>(by_packs(static_cast<unsigned>(m + of_warp)));
        f(m * per_pack<T>, row, places + m + row * (pitch - packs));
      }
  };

  if (!a.early) await_previous();
  uint4 x[P][n];
  T edge[n];
  if constexpr (together) {
    const T* from[n];
    std::int64_t gap[n];
#pragma unroll
    for (int k = 0; k < n; ++k) {
      from[k] = a.in[k] + first * a.pitch[k] + of_warp * per_pack<T>;
      ptx::opaque(from[k]);  // or all of it is computed for each pack
      gap[k] = a.pitch[k] - a.columns;
    }
    each_of_warp([&](int elements, int row, uint4* to) {
#pragma unroll
      for (int k = 0; k < n; ++k) copy_pack(to + k * of_input, from[k] + elements + row * gap[k]);
    });
  } else {
#pragma unroll
    for (int k = 0; k < n; ++k) {
      const T* const from = a.in[k] + r * a.pitch[k];
#pragma unroll
      for (int i = 0; i < P; ++i)
        if (!staged)
          x[i][k] = load_pack(from + column(i), has(i), blank<F>(k));
        else if (has(i))
          copy_pack(place(i, k), from + column(i));
      if (odd && there && lane < span.edges) edge[k] = from[span.edge(lane)];
    }
  }
  const typename F::Row row = there ? a.f.row(r) : typename F::Row{};

  if (together || staged) {
    await_copies();
    if (together) __syncwarp();
#pragma unroll
    for (int i = 0; i < P; ++i)
#pragma unroll
      for (int k = 0; k < n; ++k) x[i][k] = has(i) ? *place(i, k) : blank<F>(k);
  }
  if constexpr (is_masked<F>)
#pragma unroll
    for (int i = 0; i < P; ++i)
      if (has(i)) mask_pack(a.f, x[i][0], row, column(i));

  Stats<F> own = Stats<F>::none();
  own.max = peak<F>(x);
  C edge_value[n][1];
  const bool edge_there = odd && there && lane < span.edges;
  if constexpr (!together) {
#pragma unroll
    for (int k = 0; k < n; ++k) edge_value[k][0] = edge_there ? widen<T>(edge[k]) : blank_element<F>(k);
    if (edge_there) mask_element(a.f, edge_value[0], row, span.edge(lane));
    if constexpr (F::peak) own.max = larger(own.max, edge_value[0][0]);
  }
  if constexpr (F::peak) own.max = lanes_max(own.max, lanes);

#pragma unroll
  for (int i = 0; i < P; ++i)
    add_pack<together>(a.f, x[i], own.max, own.sum, row,
                       lane + i * lanes < span.packs ? column(i) : a.columns);
  if (odd) a.f.add(edge_value, own.max, own.sum, row, edge_there ? span.edge(lane) : a.columns);
  lanes_sums(own.sum, lanes);

  if (there) {
    const auto finish = a.f.finish(own.max, own.max, own.sum, row);
    if (a.out) {
      T* const to = a.out + r * a.columns;
#pragma unroll
      for (int i = 0; i < P; ++i) {
        keep_packed(x[i]);
        const uint4 y = put_pack<F::keeps>(a.f, x[i], finish, row, column(i));
        if (!together)
          store_pack(to + column(i), y, has(i));
        else if (has(i))
          *place(i, 0) = y;
      }
      if (odd && edge_there) {
        a.f.template put<F::keeps>(edge_value, finish, row, span.edge(lane));
        to[span.edge(lane)] = narrow<T>(edge_value[0][0]);
      }
    }
    if (lane == 0) a.f.result(r, row, own.max, own.sum);
  }
  if (!together || !a.out) return;
  __syncwarp();
  T* to = a.out + first * a.columns + of_warp * per_pack<T>;
  ptx::opaque(to);
  each_of_warp([&](int elements, int, const uint4* y) { store_pack(to + elements, *y); });
}

}  // namespace bobbin::cuda
