// Matrix products too small to fill the chip with cuBLAS's tiles: 32 x 32 of y a block, whose sums its warps
// share, and several blocks of a cluster. Each warp fetches what it adds itself by asynchronous copies, a
// chunk ahead, whichever way operands lie, and waits for nobody. At the end all parts are added in one order.
#pragma once
#include <array>

#include "small_operand.cuh"

namespace bobbin::cuda::small {

struct Piece {
  Side a, b;
  float* y;
  const float* bias;
  float* row_sums;
  std::int64_t y_stride, y_next;
  int share;  // terms of the sums that each warp adds, a multiple of 8
  int inner;
  int ranks;  // blocks of a cluster that share the sums of a tile: a power of two
  unsigned tiles;
  Divider by_tiles, by_across;  // tiles of a matrix, and of a row of it
  bool relu;
};

struct Work {
  std::array<Piece, 2> pieces;
  unsigned first_blocks;  // those of the first piece
};

// How the lanes of a warp share a tile: eight along its rows, four along its columns, so that of half a warp
// neighbours, and neighbours of neighbours, read the same elements of one side or the other: shared memory
// then serves the half at once.
inline constexpr int down = 8, across = 4, rows = tile / down, cols = tile / across;
__device__ inline int lane_down() { return static_cast<int>(threadIdx.x) / 2 % 8; }
__device__ inline int lane_across() {
  return static_cast<int>(threadIdx.x) % 2 + static_cast<int>(threadIdx.x) / 16 % 2 * 2;
}

// Of n x `lanes` rows or columns, n are the lane's that is `mine`: where number i of them lies.
template<bool along, int n>
__device__ int position(int mine, int i) {
  constexpr int lanes = tile / n;
  return along ? mine + lanes * i : 4 * mine + i / 4 * 4 * lanes + i % 4;
}
// These elements, of four terms.
template<bool along, int n>
__device__ void load(float (&v)[n][4], const float* side, int mine, int term) {
#pragma unroll
  for (int p = 0; p < n; ++p) {
    const int i = along ? p : p / 4 * 4, k = along ? 0 : p % 4;
    const int at = position<along, n>(mine, i);
    const float4 x = *reinterpret_cast<const float4*>(along ? side + at * pitch_along + term
                                                            : side + (term + k) * pitch_across + at);
    const float four[] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int q = 0; q < 4; ++q) (along ? v[i][q] : v[i + q][k]) = four[q];
  }
}

struct Sums {
  float y[rows][cols] = {};
  float a[rows] = {};
};

template<bool a_along, bool b_along>
__device__ void add_chunk(Sums& sums, const float* a, const float* b, bool row_sums) {
#pragma unroll
  for (int term = 0; term < chunk; term += 4) {
    float va[rows][4], vb[cols][4];
    load<a_along>(va, a, lane_down(), term);
    load<b_along>(vb, b, lane_across(), term);
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
      for (int i = 0; i < rows; ++i)
#pragma unroll
        for (int j = 0; j < cols; ++j) sums.y[i][j] = fmaf(va[i][k], vb[j][k], sums.y[i][j]);
    if (row_sums)
#pragma unroll
      for (int k = 0; k < 4; ++k)
#pragma unroll
        for (int i = 0; i < rows; ++i) sums.a[i] += va[i][k];
  }
}

// A tile in shared memory, and sums of rows of a behind it. Columns change places, four at a time, so that
// what is written at once lies in different banks.
inline constexpr int tile_floats = tile * (tile + 1);
__device__ inline int place(int row, int col) {
  const int by = row ^ row >> 2;
  return row * tile + (col ^ (by % 4 * 8 + by / 4 % 2 * 4));
}

// What a thread has added, to where its warp's tile lies.
template<bool a_along, bool b_along>
__device__ void leave(float* to, const Sums& sums, bool row_sums) {
#pragma unroll
  for (int i = 0; i < rows; ++i) {
    const int row = position<a_along, rows>(lane_down(), i);
    if constexpr (b_along) {
#pragma unroll
      for (int j = 0; j < cols; ++j) to[place(row, position<b_along, cols>(lane_across(), j))] = sums.y[i][j];
    } else {
#pragma unroll
      for (int j = 0; j < cols; j += 4)
        *reinterpret_cast<float4*>(to + place(row, position<b_along, cols>(lane_across(), j))) = {
            sums.y[i][j], sums.y[i][j + 1], sums.y[i][j + 2], sums.y[i][j + 3]};
    }
    if (row_sums && lane_across() == 0) to[tile * tile + row] = sums.a[i];
  }
}

// This block's part of a tile of y.
struct Tile {
  unsigned matrix;
  int row, col, rank, ranks;
};

template<bool a_along, bool b_along>
__device__ Sums add_up(const Piece& p, const Tile& t, int part, float* shared) {
  const int begin = min(p.inner, part * p.share), end = min(p.inner, begin + p.share),
            chunks = (end - begin + chunk - 1) / chunk;
  const bool row_sums = p.row_sums && t.col == 0;
  float* const of_b = shared + stages * side_floats;
  float* const of_gate = of_b + stages * side_floats;
  Reader<a_along> a(p.a, t.matrix, t.row, begin, end);
  Reader<b_along> b(p.b, t.matrix, t.col, begin, end);
  const auto bring = [&](int c) {
    if (c >= chunks) return;
    const int at = c % stages * side_floats;
    a.fetch(shared + at);
    if (a.gated) a.fetch(of_gate + at, a.gate);
    b.fetch(of_b + at);
  };

  await_previous();
  Sums sums;
  bring(0);
#pragma unroll 1
  for (int c = 0; c < chunks; ++c) {
    const int at = c % stages * side_floats;
    asm volatile("cp.async.wait_all;" ::: "memory");
    if (a.gated) a.apply(shared + at, of_gate + at);
    __syncwarp();
    a.advance();  // not right after copies were begun: it would wait until they have read their addresses
    b.advance();
    bring(c + 1);  // over the last chunk, which all have used
    add_chunk<a_along, b_along>(sums, shared + at, of_b + at, row_sums);
  }
  return sums;
}

#if __CUDA_ARCH__ >= 900
// The sum of what the blocks of the cluster have at this place.
__device__ float cluster_sum(const float* p, int ranks) {
  const unsigned here = static_cast<unsigned>(__cvta_generic_to_shared(p));
  float sum = 0;
#pragma unroll 4
  for (int r = 0; r < ranks; ++r) {
    unsigned there;
    float v;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(here), "r"(r));
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(v) : "r"(there) : "memory");
    sum += v;
  }
  return sum;
}
#endif

// First the warps add up, then the block, then the cluster.
template<bool a_along, bool b_along, int warps>
__device__ void product(const Piece& p, const Tile& t, float* shared) {
  constexpr int threads = 32 * warps;
  static_assert((warps + 1) * tile_floats <= warps * warp_floats(false));
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, j = thread % tile;
  const bool row_sums = p.row_sums && t.col == 0, alone = t.ranks == 1;
  const auto put = [&](int i, float v) {
    if (t.row + i >= p.a.outer || t.col + j >= p.b.outer) return;
    if (p.bias) v += p.bias[t.col + j];
    if (p.relu && v < 0) v = 0;  // NaN stays
    p.y[t.matrix * p.y_next + (t.row + i) * p.y_stride + t.col + j] = v;
  };
  const auto put_row = [&](int i, float v) {
    if (t.row + i < p.a.outer) p.row_sums[t.row + i] = v;
  };

  const Sums sums =
      add_up<a_along, b_along>(p, t, t.rank * warps + warp, shared + warp * warp_floats(p.a.gate));
  __syncthreads();
  leave<a_along, b_along>(shared + warp * tile_floats, sums, row_sums);
  __syncthreads();
  const auto total = [&](int at) {
    float v = 0;
#pragma unroll
    for (int w = 0; w < warps; ++w) v += shared[w * tile_floats + at];
    return v;
  };
  float* const totals = shared + warps * tile_floats;
#pragma unroll
  for (int q = 0; q < tile * tile / threads; ++q) {
    const int i = warp + q * warps, at = place(i, j);
    alone ? put(i, total(at)) : void(totals[at] = total(at));
  }
  if (row_sums && thread < tile) {
    const int at = tile * tile + thread;
    alone ? put_row(thread, total(at)) : void(totals[at] = total(at));
  }
#if __CUDA_ARCH__ >= 900
  if (alone) return;
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
  const int lines = tile / t.ranks, first = t.rank * lines, last = first + lines;  // that this block writes
  for (int i = first + warp; i < last; i += warps) put(i, cluster_sum(totals + place(i, j), t.ranks));
  if (row_sums && thread < lines)
    put_row(first + thread, cluster_sum(totals + tile * tile + first + thread, t.ranks));
  // Nobody leaves while its memory is read.
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
#endif
}

template<int warps>
__global__ void __launch_bounds__(32 * warps, 16 / warps) small_products(const Work work) {
  extern __shared__ float4 memory[];
  float* const shared = reinterpret_cast<float*>(memory);
  const bool second = blockIdx.x >= work.first_blocks;
  const Piece& p = work.pieces[second];
  unsigned n = blockIdx.x - (second ? work.first_blocks : 0);
  Tile t{.matrix = 0, .row = 0, .col = 0, .rank = static_cast<int>(n) & (p.ranks - 1), .ranks = p.ranks};
  n >>= 31 - __clz(p.ranks);
  if (n >= p.tiles) return;
  t.matrix = p.by_tiles(n);
  n -= t.matrix * p.by_tiles.d;
  const unsigned row = p.by_across(n);
  t.row = static_cast<int>(row) * tile;
  t.col = static_cast<int>(n - row * p.by_across.d) * tile;
  if (p.a.along)
    p.b.along ? product<true, true, warps>(p, t, shared) : product<true, false, warps>(p, t, shared);
  else
    p.b.along ? product<false, true, warps>(p, t, shared) : product<false, false, warps>(p, t, shared);
}

}  // namespace bobbin::cuda::small
