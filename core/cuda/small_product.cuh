// Matrix products too small to fill the chip with cuBLAS's tiles: 32 x 32 of y a block, whose sums its warps
// share, and several blocks of a cluster. Each warp fetches what it adds itself, a row of asynchronous copies
// ahead, whichever way operands lie, and waits for nobody. At the end all parts are added in one order.
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
  Divider by_tiles, by_across;  // tiles of a matrix, and of a row of it
  bool relu;
};

struct Work {
  std::array<Piece, 2> pieces;
  unsigned first_tiles;  // those of the first piece
  int ranks;             // blocks that share the sums of a tile: a power of two
};

// What a lane takes of the n x (32 / n) elements of a line: where element i lies.
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
__device__ void add_chunk(Sums& sums, const float* a, const float* b, int terms, bool row_sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int term = 0; term < chunk; term += 4) {
    if (term >= terms) break;
    float va[rows][4], vb[cols][4];
    load<a_along>(va, a, lane / 4, term);
    load<b_along>(vb, b, lane % 4, term);
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

// What a thread has added, to where its warp's tile lies; sums of rows of a go behind those of y.
template<bool a_along, bool b_along>
__device__ void leave(float* partial, const Sums& sums, bool row_sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int i = 0; i < rows; ++i) {
    float* const line = partial + position<a_along, rows>(lane / 4, i) * partial_pitch;
    if constexpr (b_along) {
#pragma unroll
      for (int j = 0; j < cols; ++j) line[position<b_along, cols>(lane % 4, j)] = sums.y[i][j];
    } else {
#pragma unroll
      for (int j = 0; j < cols; j += 4)
        *reinterpret_cast<float4*>(line + position<b_along, cols>(lane % 4, j)) = {
            sums.y[i][j], sums.y[i][j + 1], sums.y[i][j + 2], sums.y[i][j + 3]};
    }
    if (row_sums && lane % 4 == 0) line[tile] = sums.a[i];
  }
}

// This block's part of a tile of y.
struct Tile {
  unsigned matrix;
  int row, col, rank, ranks;
};

template<bool a_along, bool b_along>
__device__ Sums add_up(const Piece& p, const Tile& t, float* shared) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int begin = min(p.inner, (t.rank * warps + warp) * p.share), end = min(p.inner, begin + p.share),
            chunks = (end - begin + chunk - 1) / chunk;
  const bool gated = p.a.gate, row_sums = p.row_sums && t.col == 0;
  const std::int64_t gate = gated ? p.a.gate - p.a.data : 0;
  float* const of_b = shared + stages * side_floats;
  float* const of_gate = of_b + stages * side_floats;
  Reader<a_along> a(p.a, t.matrix, t.row, begin, end);
  Reader<b_along> b(p.b, t.matrix, t.col, begin, end);
  const auto bring = [&](int stage) {
    a.fetch(shared + stage * side_floats, p.a.packs);
    b.fetch(of_b + stage * side_floats, p.b.packs);
    if (gated) a.fetch(of_gate, p.a.packs, gate);
    a.advance(p.a);
    b.advance(p.b);
  };

  await_previous();
  Sums sums;
  if (chunks > 0) bring(0);
#pragma unroll 1
  for (int c = 0; c < chunks; ++c) {
    const int stage = c % stages;
    asm volatile("cp.async.wait_all;" ::: "memory");
    if (gated) a.apply(shared + stage * side_floats, of_gate);
    __syncwarp();
    if (c + 1 < chunks) bring(1 - stage);  // over the last chunk, which all have used
    add_chunk<a_along, b_along>(sums, shared + stage * side_floats, of_b + stage * side_floats,
                                end - begin - c * chunk, row_sums);
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
template<bool a_along, bool b_along>
__device__ void product(const Piece& p, const Tile& t, float* shared) {
  const int thread = static_cast<int>(threadIdx.x), j = thread % tile;
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

  const Sums sums = add_up<a_along, b_along>(p, t, shared + thread / 32 * warp_floats(p.a.gate));
  __syncthreads();
  leave<a_along, b_along>(shared + thread / 32 * partial_floats, sums, row_sums);
  __syncthreads();
  const auto total = [&](int i, int j) {
    float v = 0;
#pragma unroll
    for (int w = 0; w < warps; ++w) v += shared[w * partial_floats + i * partial_pitch + j];
    return v;
  };
  float* const totals = shared + warps * partial_floats;
#pragma unroll
  for (int q = 0; q < tile * tile / threads; ++q) {
    const int i = thread / tile + q * (threads / tile);
    alone ? put(i, total(i, j)) : void(totals[i * tile + j] = total(i, j));
  }
  if (row_sums && thread < tile)
    alone ? put_row(thread, total(thread, tile)) : void(totals[tile * tile + thread] = total(thread, tile));
#if __CUDA_ARCH__ >= 900
  if (alone) return;
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
  const int lines = tile / t.ranks, first = t.rank * lines, last = first + lines;  // that this block writes
  for (int i = first + thread / tile; i < last; i += threads / tile)
    put(i, cluster_sum(totals + i * tile + j, t.ranks));
  if (row_sums && thread < lines)
    put_row(first + thread, cluster_sum(totals + tile * tile + first + thread, t.ranks));
  // Nobody leaves while its memory is read.
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
#endif
}

__global__ void __launch_bounds__(threads, 2) small_products(const Work work) {
  extern __shared__ float4 memory[];
  float* const shared = reinterpret_cast<float*>(memory);
  Tile t{.matrix = 0,
         .row = 0,
         .col = 0,
         .rank = static_cast<int>(blockIdx.x) & (work.ranks - 1),
         .ranks = work.ranks};
  unsigned n = blockIdx.x >> (31 - __clz(work.ranks));
  const bool second = n >= work.first_tiles;
  const Piece& p = work.pieces[second];
  if (second) n -= work.first_tiles;
  t.matrix = p.by_tiles(n);
  n -= t.matrix * p.by_tiles.d;
  const unsigned row = p.by_across(n);
  t.row = static_cast<int>(row) * tile;
  t.col = static_cast<int>(n - row * p.by_across.d) * tile;
  if (p.a.along)
    p.b.along ? product<true, true>(p, t, shared) : product<true, false>(p, t, shared);
  else
    p.b.along ? product<false, true>(p, t, shared) : product<false, false>(p, t, shared);
}

}  // namespace bobbin::cuda::small
