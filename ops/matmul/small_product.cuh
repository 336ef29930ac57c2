// Matrix products too small to fill the chip with cuBLAS's tiles: 16 x 16 to 32 x 64 of y a block, whose sums
// its warps share, and several blocks of a cluster. A block fetches terms by asynchronous copies, a segment
// ahead, whichever way operands lie; each warp adds up every eighth four of them. At the end all parts are
// added in one order.
#pragma once
#include <array>

#include "ops/matmul/small_operand.cuh"

namespace bobbin::cuda::small {

struct Piece {
  Side a, b;
  float* y;
  const float* bias;
  float* row_sums;
  std::int64_t y_stride, y_next;
  int share;  // terms of the sums that each block adds: a multiple of 4
  int inner;
  int ranks;  // blocks of a cluster that share the sums of a tile: a power of two
  unsigned tiles;
  Divider by_tiles, by_across;  // tiles of a matrix, and of a row of it
  bool relu;
  bool packs;  // rows of y, and the bias, begin and end on 16 bytes
};

struct Work {
  std::array<Piece, 2> pieces;
  unsigned first_blocks;  // those of the first piece
};

// How the lanes of a warp share a tile: four along its rows, eight along its columns, so that of half a warp
// neighbours, and neighbours of neighbours, read the same elements of one side or the other: shared memory
// then serves the half at once.
inline constexpr int down = 4, across = 8;
__device__ inline int lane_down() { return static_cast<int>(threadIdx.x >> 1 & 1 | threadIdx.x >> 2 & 2); }
__device__ inline int lane_across() {
  return static_cast<int>(threadIdx.x & 1 | threadIdx.x >> 1 & 2 | threadIdx.x >> 2 & 4);
}

// A warp's sums of a tile in shared memory, and sums of rows of a behind it: what is written at once lies in
// different banks.
template<int width>
inline constexpr int tile_pitch = width + 4;
template<int height, int width>
inline constexpr int row_sums_at = height* tile_pitch<width>;
template<int height, int width>
inline constexpr int tile_floats = row_sums_at<height, width> + height;
inline constexpr int warps = threads / 32;

// Shared memory of a block: segments of a, of b and of the gate; later the warps' sums.
template<int height, int width>
constexpr int floats_of(bool a_along, bool b_along, bool gated, int share) {
  const int used = (share + segment - 1) / segment, of_line = segment + 4;
  const int a = a_along ? height * of_line : segment * height,
            b = b_along ? width * of_line : segment * width;
  const int all = (a * (1 + gated) + b) * (used < stages ? used : stages);
  return all > warps * tile_floats<height, width> ? all : warps * tile_floats<height, width>;
}

// This block's part of a tile of y.
struct Tile {
  unsigned matrix;
  int row, col, rank;
};

template<int height, int width>
struct Sums {
  static constexpr int rows = height / down, cols = width / across;
  float y[rows][cols] = {};
  float of_row = 0;  // number `lane` of a

  template<class A, class B, int terms>
  __device__ void add(const float* a_side, const float* b_side, int first) {
#pragma unroll
    for (int term = first; term < first + 4; term += terms) {
      float va[rows][terms], vb[cols][terms];
      A::load(va, a_side, lane_down(), term);
      B::load(vb, b_side, lane_across(), term);
#pragma unroll
      for (int k = 0; k < terms; ++k)
#pragma unroll
        for (int i = 0; i < rows; ++i)
#pragma unroll
          for (int j = 0; j < cols; ++j) y[i][j] = fmaf(va[i][k], vb[j][k], y[i][j]);
    }
  }
  // For sides whose lines lie across the sum.
  __device__ void add_row(const float* a_side) {
#pragma unroll
    for (int term = 0; term < 4; ++term) of_row += a_side[term * height + threadIdx.x % height];
  }
  // Leaves them where the warp's tile lies.
  template<class A, class B>
  __device__ void leave(float* to, bool row_sums) const {
    using Group = Pack<float, B::group>;
    float* const mine = to + A::position(lane_down(), 0) * tile_pitch<width> + B::position(lane_across(), 0);
#pragma unroll
    for (int i = 0; i < rows; ++i)
#pragma unroll
      for (int j = 0; j < cols; j += B::group) {
        Group g;
#pragma unroll
        for (int k = 0; k < B::group; ++k) g.v[k] = y[i][j + k];
        *reinterpret_cast<Group*>(mine + A::position(0, i) * tile_pitch<width> + B::position(0, j)) = g;
      }
    if (row_sums && threadIdx.x % 32 < height) to[row_sums_at<height, width> + threadIdx.x % 32] = of_row;
  }
};

// What this warp adds of the tile's sums. Calls meanwhile() when the first terms are on their way.
template<bool a_along, bool b_along, int height, int width, class F>
__device__ Sums<height, width> add_up(const Piece& p, const Tile& t, float* shared, F&& meanwhile) {
  using A = Layout<a_along, height, down>;
  using B = Layout<b_along, width, across>;
  constexpr int together = a_along || b_along ? 4 : 1;  // terms whose elements are loaded at once
  const int begin = t.rank * p.share, all = min(p.inner - begin, p.share),
            warp = static_cast<int>(threadIdx.x) / 32;
  const bool row_sums = p.row_sums && t.col == 0;
  const Reader<A> a(p.a, t.matrix, t.row, begin);
  const Reader<B> b(p.b, t.matrix, t.col, begin);
  const int stage_floats = A::floats * (a.gate ? 2 : 1) + B::floats;
  const auto fetch = [&](int stage, int from) {
    if (from < all) {
      float* const to = shared + stage * stage_floats;
      const int terms = min(all - from, segment);
      a.fetch(to + B::floats, to + B::floats + A::floats, from, terms);
      b.fetch(to, nullptr, from, terms);
    }
    ptx::cp_async_commit_group();
  };

  await_data();
#pragma unroll 1
  for (int s = 0; s < stages; ++s) fetch(s, s * segment);
  meanwhile();
  Sums<height, width> sums;
  int stage = 0;
#pragma unroll 1
  for (int from = 0; from < all; from += segment) {
    const int terms = min(all - from, segment);
    const bool last = from + segment >= all;
    if (last) call_next();
    float *const b_side = shared + stage * stage_floats, *const a_side = b_side + B::floats;
    ptx::cp_async_wait_group<stages - 1>();
    if (a.gate) a.apply_gate(a_side, a_side + A::floats, terms);
    __syncthreads();
#pragma unroll 1
    for (int term = 4 * warp; term < terms; term += 4 * warps) {
      sums.template add<A, B, together>(a_side, b_side, term);
      if (!a_along && row_sums) sums.add_row(a_side + term * height);
    }
    if (last) break;
    __syncthreads();  // all have used what is overwritten now
    fetch(stage, from + stages * segment);
    stage = (stage + 1) % stages;
  }
  return sums;
}

__device__ inline float4 operator+(const float4& x, const float4& y) {
  return {x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w};
}

// What the block of the cluster that has this rank has at this place.
template<class T>
__device__ T of_rank(const T* p, int rank) {
  T v{};
#if __CUDA_ARCH__ >= 900
  ptx::ld_shared_cluster(v, ptx::mapa(ptx::shared_address(p), rank));
#endif
  return v;
}

// First the warps add up, then the block, then the cluster.
template<bool a_along, bool b_along, int height, int width>
__device__ void product(const Piece& p, const Tile& t, float* shared) {
  constexpr int pitch = tile_pitch<width>, quads = width / 4;
  const int thread = static_cast<int>(threadIdx.x);
  const bool row_sums = p.row_sums && t.col == 0;
  // Elements of y, four at a time: all that a thread writes lie in these columns.
  const int quad = thread % quads, col = t.col + 4 * quad, left = p.b.outer - col;

  float bias[4] = {};
  const auto put = [&](int line, const float4& sum) {
    if (t.row + line >= p.a.outer) return;
    float v[] = {sum.x + bias[0], sum.y + bias[1], sum.z + bias[2], sum.w + bias[3]};
    if (p.relu)
#pragma unroll
      for (int k = 0; k < 4; ++k) v[k] = v[k] < 0 ? 0 : v[k];  // NaN stays
    float* const y = p.y + (t.matrix * p.y_next + (t.row + line) * p.y_stride + col);
    if (p.packs && left > 0)
      *reinterpret_cast<float4*>(y) = {v[0], v[1], v[2], v[3]};
    else
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (k < left) y[k] = v[k];
  };
  const auto put_row = [&](int line, float v) {
    if (t.row + line < p.a.outer) p.row_sums[t.row + line] = v;
  };

  const auto load_bias = [&] {
    if (p.bias)
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (k < left) bias[k] = p.bias[col + k];
  };
  const Sums<height, width> sums = add_up<a_along, b_along, height, width>(p, t, shared, load_bias);
  __syncthreads();
  sums.template leave<Layout<a_along, height, down>, Layout<b_along, width, across>>(
      shared + thread / 32 * tile_floats<height, width>, row_sums);
  __syncthreads();
  const auto total = [&]<class T>(T* at) {
    T v = *at;
#pragma unroll
    for (int w = 1; w < warps; ++w)
      v = v + *reinterpret_cast<T*>(reinterpret_cast<float*>(at) + w * tile_floats<height, width>);
    return v;
  };
  const auto quad_at = [&](int line) { return reinterpret_cast<float4*>(shared + line * pitch + 4 * quad); };
  float* const row_at = shared + row_sums_at<height, width> + thread;
  const bool alone = p.ranks == 1;
#pragma unroll
  for (int q = 0; q < height; q += threads / quads) {
    const int line = thread / quads + q;
    if (line >= height) break;
    const float4 sum = total(quad_at(line));
    alone ? put(line, sum) : void(*quad_at(line) = sum);  // which nobody else reads
  }
  if (row_sums && thread < height) {
    const float sum = total(row_at);
    alone ? put_row(thread, sum) : void(*row_at = sum);
  }
#if __CUDA_ARCH__ >= 900
  if (alone) return;
  ptx::barrier_cluster_arrive_release_aligned();
  ptx::barrier_cluster_wait_acquire_aligned();
  const int lines = height / p.ranks, first = t.rank * lines;  // that this block writes
  const auto all = [&]<class T>(const T* at) {
    T v = of_rank(at, 0);
#pragma unroll 3
    for (int r = 1; r < p.ranks; ++r) v = v + of_rank(at, r);
    return v;
  };
  if (thread < lines * quads) {
    const int line = first + thread / quads;
    put(line, all(quad_at(line)));
  }
  if (row_sums && thread < lines) put_row(first + thread, all(row_at + first));
  // Nobody leaves while its memory is read.
  ptx::barrier_cluster_arrive_relaxed_aligned();
  ptx::barrier_cluster_wait_acquire_aligned();
#endif
}

template<int height, int width>
__global__ void __launch_bounds__(threads, width == 64 ? 1 : 2)
    small_products(const __grid_constant__ Work work) {
  extern __shared__ float4 memory[];
  float* const shared = reinterpret_cast<float*>(memory);
  const bool second = blockIdx.x >= work.first_blocks;
  const Piece& p = work.pieces[second];
  unsigned n = blockIdx.x - (second ? work.first_blocks : 0);
  Tile t{.matrix = 0, .row = 0, .col = 0, .rank = static_cast<int>(n) & (p.ranks - 1)};
  // What is read of the parameters later is on its way to this multiprocessor's cache from now on.
  unsigned word = 0;
#pragma unroll
  for (unsigned i = 0; i < sizeof(Piece) / 4; i += 8) word |= reinterpret_cast<const unsigned*>(&p)[i];
  ptx::use(word);
  n >>= 31 - __clz(p.ranks);
  if (n >= p.tiles) return;
  t.matrix = p.by_tiles(n);
  n -= t.matrix * p.by_tiles.d;
  const unsigned row = p.by_across(n);
  t.row = static_cast<int>(row) * height;
  t.col = static_cast<int>(n - row * p.by_across.d) * width;
  if (p.a.along)
    p.b.along ? product<true, true, height, width>(p, t, shared)
              : product<true, false, height, width>(p, t, shared);
  else
    p.b.along ? product<false, true, height, width>(p, t, shared)
              : product<false, false, height, width>(p, t, shared);
}

}  // namespace bobbin::cuda::small
