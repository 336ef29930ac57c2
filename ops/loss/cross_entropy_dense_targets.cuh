// The kernel of cross-entropy for dense targets (probabilities, or weights with label smoothing), which are
// rare. It does not use the row engine: the threads of a block read a tile of rows twice. The second time,
// the caches hold the tile.
#pragma once
#include <algorithm>
#include <bit>

#include "core/ceil_div.h"
#include "ops/loss/cross_entropy_functor.cuh"

namespace bobbin::cuda {

/// The layout of a block: `lanes` threads per row, `rows` rows per tile, both powers of two.
struct DenseTiles {
  static constexpr int threads = 512;
  int lanes, rows;
  bool lanes_first;  ///< whether neighbouring threads share a row
  std::int64_t count;

  DenseTiles(std::int64_t n, std::int64_t classes, std::int64_t inner) : lanes_first(inner == 1) {
    const auto power = [](std::int64_t least, std::int64_t most) {
      return std::bit_ceil(static_cast<std::uint64_t>(std::clamp<std::int64_t>(least, 1, most)));
    };
    rows = static_cast<int>(power(n, threads));
    // A warp reads along contiguous rows, or across at least 32 rows if the rows are strided. More lanes per
    // row make the tile small enough for the caches to hold it until the second pass.
    if (n > rows || classes > few * (threads / rows))
      rows = std::min(rows, threads / static_cast<int>(power((classes + 3) / 4, lanes_first ? threads : 8)));
    lanes = threads / rows;
    count = ceil_div(n, rows);
  }

 private:
  static constexpr int few = 16;  // elements of a thread
};

/// Calls f(c, x[c]) for the classes of one lane; issues four loads at a time.
template<class T, class F>
__device__ void each_class(const T* x, std::int64_t classes, std::int64_t inner, int lane, int lanes, F f) {
  constexpr int n = 4;
  for (std::int64_t c = lane; c < classes; c += n * lanes) {
    T v[n];
#pragma unroll
    for (int k = 0; k < n; ++k)
      if (c + k * lanes < classes) v[k] = x[(c + k * lanes) * inner];
#pragma unroll
    for (int k = 0; k < n; ++k)
      if (c + k * lanes < classes) f(c + k * lanes, widen(v[k]));
  }
}

/// `dx` is null if no gradient is requested.
template<class T>
__global__ void __launch_bounds__(DenseTiles::threads)
    dense_rows(const CrossEntropyCall<T> call, const DenseTiles tiles, T* const dx) {
  using C = Compute<T>;
  using F = CrossEntropyRow<T, TargetKind::dense>;
  __shared__ Stats<F> shared[DenseTiles::threads];
  const F f{call};
  const int thread = static_cast<int>(threadIdx.x), lanes = tiles.lanes;
  const int lane = tiles.lanes_first ? thread % lanes : thread / tiles.rows;
  const int lane_pitch = tiles.lanes_first ? 1 : tiles.rows;  // threads between two lanes of a row

  for (std::int64_t tile = blockIdx.x; tile < tiles.count; tile += gridDim.x) {
    const std::int64_t r = tile * tiles.rows + (tiles.lanes_first ? thread / lanes : thread % tiles.rows);
    const bool valid = r < call.rows;
    const std::int64_t start = valid ? call.element(r, 0) : 0, classes = valid ? call.classes : 0;
    typename F::Row row;
    if (valid) row = f.row(r);

    auto stats = Stats<F>::none();
    each_class(call.x + start, classes, call.inner, lane, lanes, [&](std::int64_t c, C x) {
      const C max = larger(stats.max, x);
      f.rescale(stats.sum, stats.max, max);
      stats.max = max;
      C v[1][1] = {{x}};
      f.add(v, max, stats.sum, row, c);
    });
    __syncthreads();  // all threads have read the statistics of the previous tile
    shared[thread] = stats;
    __syncthreads();
    for (int w = lanes / 2; w > 0; w /= 2) {
      if (lane < w) shared[thread] = merge(f, shared[thread], shared[thread + w * lane_pitch]);
      __syncthreads();
    }
    stats = shared[thread - lane * lane_pitch];

    if (dx) {
      const auto finish = f.finish(stats.max, stats.max, stats.sum, row);
      each_class(call.x + start, classes, call.inner, lane, lanes, [&](std::int64_t c, C x) {
        C v[1][1] = {{x}};
        f.template put<false>(v, finish, row, c);
        dx[start + c * call.inner] = narrow<T>(v[0][0]);
      });
    }
    if (valid && lane == 0) f.result(r, row, stats.max, stats.sum);
  }
}

}  // namespace bobbin::cuda
