// Matrix products for which cuBLAS's tiles are too few to use all multiprocessors. A block computes a tile of
// y, of 16 x 16 to 32 x 64 elements; the blocks of a cluster may share a tile, each with a part of k. A block
// copies the operands to shared memory asynchronously, a segment of k ahead of its arithmetic. Each warp adds
// the products of four consecutive k in every 32; at the end the sums of warps, then of blocks, are added in
// a fixed order.
#pragma once
#include <array>

#include "ops/matmul/small_operand.cuh"

namespace bobbin::cuda::small_gemm {

// One product. The fields are those of cuda::Gemm (blas.h), and how the kernel divides the work.
struct Problem {
  SmallOperand a, b;
  float* y;
  const float* bias;
  float* row_sums;
  std::int64_t y_stride, y_next;
  int k_per_block;  // values of k that each block sums over: a multiple of 4
  int inner;
  int splits;  // blocks of a cluster that share a tile: a power of two
  unsigned tiles;
  Divider by_tiles, by_across;  // tiles of a matrix, and in a row of tiles
  bool relu;
  bool vectorized;  // rows of y, and the bias, begin and end at multiples of 16 bytes
};

// One or two products that one launch computes.
struct Problems {
  std::array<Problem, 2> all;
  unsigned first_blocks;  // blocks of the first one
};

// The lanes of a warp divide a tile: four down its rows, eight across its columns. They are numbered so that
// lanes of half a warp next to each other, or two apart, read the same elements of a or of b; shared memory
// then serves the half warp at once.
inline constexpr int down = 4, across = 8;
__device__ inline int lane_down() { return static_cast<int>(threadIdx.x >> 1 & 1 | threadIdx.x >> 2 & 2); }
__device__ inline int lane_across() {
  return static_cast<int>(threadIdx.x & 1 | threadIdx.x >> 1 & 2 | threadIdx.x >> 2 & 4);
}

// The layout of shared memory in which a warp stores its sums of a tile, and after them its sums of rows of
// a. With this pitch, lanes that write at the same time use different banks.
template<int width>
inline constexpr int tile_pitch = width + 4;
template<int height, int width>
inline constexpr int row_sums_at = height* tile_pitch<width>;
template<int height, int width>
inline constexpr int tile_floats = row_sums_at<height, width> + height;
inline constexpr int warps = threads / 32;

// Floats of shared memory that a block needs: segments of a, of b and of the gate; later the warps' sums.
template<int height, int width>
constexpr int floats_of(bool a_along, bool b_along, bool gated, int k_per_block) {
  const int used = (k_per_block + segment - 1) / segment, of_line = segment + 4;
  const int a = a_along ? height * of_line : segment * height,
            b = b_along ? width * of_line : segment * width;
  const int all = (a * (1 + gated) + b) * (used < stages ? used : stages);
  return all > warps * tile_floats<height, width> ? all : warps * tile_floats<height, width>;
}

// The tile of y that a block computes: its matrix of the batch, its first row and column, and which part of k
// the block has.
struct TileIndex {
  unsigned matrix;
  int row, col, rank;
};

// A lane's accumulators.
template<int height, int width>
struct Accumulators {
  static constexpr int rows = height / down, cols = width / across;
  float y[rows][cols] = {};
  float of_row = 0;  // the sum of the tile's row of a whose number is the lane's

  // Adds the products of four values of k, `terms` of them at a time.
  template<class A, class B, int terms>
  __device__ void add(const float* a_shared, const float* b_shared, int first) {
#pragma unroll
    for (int term = first; term < first + 4; term += terms) {
      float va[rows][terms], vb[cols][terms];
      A::load(va, a_shared, lane_down(), term);
      B::load(vb, b_shared, lane_across(), term);
#pragma unroll
      for (int k = 0; k < terms; ++k)
#pragma unroll
        for (int i = 0; i < rows; ++i)
#pragma unroll
          for (int j = 0; j < cols; ++j) y[i][j] = fmaf(va[i][k], vb[j][k], y[i][j]);
    }
  }
  // Adds four values of k of a row of a, where that is contiguous across k.
  __device__ void add_row(const float* a_shared) {
#pragma unroll
    for (int term = 0; term < 4; ++term) of_row += a_shared[term * height + threadIdx.x % height];
  }
  // Stores them at `to`, where the warp's sums are in shared memory.
  template<class A, class B>
  __device__ void store(float* to, bool row_sums) const {
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

// Computes this warp's sums of the tile, over its part of the block's k. Calls meanwhile() after it has
// started the first copies.
template<bool a_along, bool b_along, int height, int width, class F>
__device__ Accumulators<height, width> accumulate(const Problem& p, const TileIndex& t, float* shared,
                                                  F&& meanwhile) {
  using A = SharedSegment<a_along, height, down>;
  using B = SharedSegment<b_along, width, across>;
  constexpr int together = a_along || b_along ? 4 : 1;  // values of k that are read at a time
  const int begin = t.rank * p.k_per_block, all = min(p.inner - begin, p.k_per_block),
            warp = static_cast<int>(threadIdx.x) / 32;
  const bool row_sums = p.row_sums && t.col == 0;
  const Loader<A> a(p.a, t.matrix, t.row, begin);
  const Loader<B> b(p.b, t.matrix, t.col, begin);
  const int stage_floats = A::floats * (a.gate ? 2 : 1) + B::floats;
  const auto fetch = [&](int stage, int from) {
    if (from < all) {
      float* const to = shared + stage * stage_floats;
      const int terms = min(all - from, segment);
      a.load(to + B::floats, to + B::floats + A::floats, from, terms);
      b.load(to, nullptr, from, terms);
    }
    ptx::cp_async_commit_group();
  };

  await_data();
#pragma unroll 1
  for (int s = 0; s < stages; ++s) fetch(s, s * segment);
  meanwhile();
  Accumulators<height, width> sums;
  int stage = 0;
#pragma unroll 1
  for (int from = 0; from < all; from += segment) {
    const int terms = min(all - from, segment);
    const bool last = from + segment >= all;
    if (last) call_next();
    float *const b_shared = shared + stage * stage_floats, *const a_shared = b_shared + B::floats;
    ptx::cp_async_wait_group<stages - 1>();
    if (a.gate) a.apply_gate(a_shared, a_shared + A::floats, terms);
    __syncthreads();
#pragma unroll 1
    for (int term = 4 * warp; term < terms; term += 4 * warps) {
      sums.template add<A, B, together>(a_shared, b_shared, term);
      if (!a_along && row_sums) sums.add_row(a_shared + term * height);
    }
    if (last) break;
    __syncthreads();  // all threads have read the stage that is overwritten now
    fetch(stage, from + stages * segment);
    stage = (stage + 1) % stages;
  }
  return sums;
}

__device__ inline float4 operator+(const float4& x, const float4& y) {
  return {x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w};
}

// Reads *p of the shared memory of another block of the cluster.
template<class T>
__device__ T load_from_rank(const T* p, int rank) {
  T v{};
#if __CUDA_ARCH__ >= 900
  ptx::ld_shared_cluster(v, ptx::mapa(ptx::shared_address(p), rank));
#endif
  return v;
}

// Computes a tile: adds the sums of the block's warps, then those of the cluster's blocks.
template<bool a_along, bool b_along, int height, int width>
__device__ void product(const Problem& p, const TileIndex& t, float* shared) {
  constexpr int pitch = tile_pitch<width>, quads = width / 4;
  const int thread = static_cast<int>(threadIdx.x);
  const bool row_sums = p.row_sums && t.col == 0;
  // A thread writes four neighbouring elements of y at a time, always in these columns.
  const int quad = thread % quads, col = t.col + 4 * quad, left = p.b.extent - col;

  float bias[4] = {};
  const auto write = [&](int line, const float4& sum) {
    if (t.row + line >= p.a.extent) return;
    float v[] = {sum.x + bias[0], sum.y + bias[1], sum.z + bias[2], sum.w + bias[3]};
    if (p.relu)
#pragma unroll
      for (int k = 0; k < 4; ++k) v[k] = v[k] < 0 ? 0 : v[k];  // NaN stays
    float* const y = p.y + (t.matrix * p.y_next + (t.row + line) * p.y_stride + col);
    if (p.vectorized && left > 0)
      *reinterpret_cast<float4*>(y) = {v[0], v[1], v[2], v[3]};
    else
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (k < left) y[k] = v[k];
  };
  const auto write_row_sum = [&](int line, float v) {
    if (t.row + line < p.a.extent) p.row_sums[t.row + line] = v;
  };

  const auto load_bias = [&] {
    if (p.bias)
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (k < left) bias[k] = p.bias[col + k];
  };
  const Accumulators<height, width> sums =
      accumulate<a_along, b_along, height, width>(p, t, shared, load_bias);
  __syncthreads();
  sums.template store<SharedSegment<a_along, height, down>, SharedSegment<b_along, width, across>>(
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
  const bool alone = p.splits == 1;
#pragma unroll
  for (int q = 0; q < height; q += threads / quads) {
    const int line = thread / quads + q;
    if (line >= height) break;
    const float4 sum = total(quad_at(line));
    alone ? write(line, sum) : void(*quad_at(line) = sum);  // no other thread reads this element
  }
  if (row_sums && thread < height) {
    const float sum = total(row_at);
    alone ? write_row_sum(thread, sum) : void(*row_at = sum);
  }
#if __CUDA_ARCH__ >= 900
  if (alone) return;
  ptx::barrier_cluster_arrive_release_aligned();
  ptx::barrier_cluster_wait_acquire_aligned();
  const int lines = height / p.splits, first = t.rank * lines;  // rows that this block writes
  const auto all = [&]<class T>(const T* at) {
    T v = load_from_rank(at, 0);
#pragma unroll 3
    for (int r = 1; r < p.splits; ++r) v = v + load_from_rank(at, r);
    return v;
  };
  if (thread < lines * quads) {
    const int line = first + thread / quads;
    write(line, all(quad_at(line)));
  }
  if (row_sums && thread < lines) write_row_sum(first + thread, all(row_at + first));
  // A block must not exit while others read its shared memory.
  ptx::barrier_cluster_arrive_relaxed_aligned();
  ptx::barrier_cluster_wait_acquire_aligned();
#endif
}

template<int height, int width>
__global__ void __launch_bounds__(threads, width == 64 ? 1 : 2)
    small_products(const __grid_constant__ Problems problems) {
  extern __shared__ float4 memory[];
  float* const shared = reinterpret_cast<float*>(memory);
  const bool second = blockIdx.x >= problems.first_blocks;
  const Problem& p = problems.all[second];
  unsigned n = blockIdx.x - (second ? problems.first_blocks : 0);
  TileIndex t{.matrix = 0, .row = 0, .col = 0, .rank = static_cast<int>(n) & (p.splits - 1)};
  // Brings the parameters into this multiprocessor's constant cache before they are needed.
  unsigned word = 0;
#pragma unroll
  for (unsigned i = 0; i < sizeof(Problem) / 4; i += 8) word |= reinterpret_cast<const unsigned*>(&p)[i];
  ptx::use(word);
  n >>= 31 - __clz(p.splits);
  if (n >= p.tiles) return;
  t.matrix = p.by_tiles(n);
  n -= t.matrix * p.by_tiles.d;
  const unsigned row = p.by_across(n);
  t.row = static_cast<int>(row) * height;
  t.col = static_cast<int>(n - row * p.by_across.d) * width;
  if (p.a.along_k)
    p.b.along_k ? product<true, true, height, width>(p, t, shared)
                : product<true, false, height, width>(p, t, shared);
  else
    p.b.along_k ? product<false, true, height, width>(p, t, shared)
                : product<false, false, height, width>(p, t, shared);
}

}  // namespace bobbin::cuda::small_gemm
