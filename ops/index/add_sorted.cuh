// The kernels of index_add.cu for a sorted index. Equal keys form runs: one thread per column adds a short
// run, and a block adds a long one.
#pragma once
#include "core/ceil_div.h"
#include "core/cuda/pack.cuh"
#include "ops/index/index.cuh"

namespace bobbin::indexing {

constexpr int threads = 256;
constexpr int batch = 8;                // loads of a thread at the same time
constexpr std::int64_t long_run = 128;  // a run of more terms is long, and an index of more entries is sorted
constexpr std::int64_t tile = 2048;     // elements of a long run in a tile of shared memory

// -0 changes no x: x + -0 is x. +0 would change -0 into +0.
template<class T>
__device__ T negative_zero() {
  if constexpr (is_16bit_float<T>) {
    T x;
    x.bits = 0x8000;
    return x;
  } else {
    return static_cast<T>(-0.0);
  }
}

// A pack to add, or any readable pack that is loaded and ignored: so no load depends on a branch.
template<class T, int width>
struct Term {
  const cuda::Pack<T, width>* from;
  bool added;
};

// Adds term(0), ..., term(batch - 1) in that order. The loads are independent of each other.
template<class T, int width, class F>
__device__ void add_batch(cuda::Compute<T> (&sums)[width], F&& term) {
  using Sum = cuda::Compute<T>;
  Term<T, width> terms[batch];
#pragma unroll
  for (int k = 0; k < batch; ++k) terms[k] = term(k);
  cuda::Pack<T, width> v[batch];
#pragma unroll
  for (int k = 0; k < batch; ++k) v[k] = *terms[k].from;
#pragma unroll
  for (int k = 0; k < batch; ++k)
#pragma unroll
    for (int w = 0; w < width; ++w)
      sums[w] = static_cast<Sum>(sums[w] + cuda::widen(terms[k].added ? v[k].v[w] : negative_zero<T>()));
}

// The n positions of an index, sorted by their keys. A key is the row of y that the position's row of source
// is added to; `none`, the largest, marks an index outside its axis. Members read without a branch, so that
// loads of several calls overlap.
struct SortedIndex {
  const std::int64_t *keys, *positions;
  std::int64_t n, none;
  // Whether entry i exists and has that key.
  __device__ bool has(std::int64_t i, std::int64_t key) const {
    const std::int64_t at = i < 0 ? 0 : i < n ? i : n - 1, k = keys[at];
    return k == key && at == i;
  }
  struct Entry {
    std::int64_t position;  // any valid position where `found` is false
    bool found;
  };
  // Entry i, which is not negative; found where it exists and has that key.
  __device__ Entry find(std::int64_t i, std::int64_t key) const {
    const std::int64_t at = i < n ? i : n - 1, k = keys[at], position = positions[at];
    return {position, i < n && k == key};
  }
};

static __global__ void __launch_bounds__(threads)
    find_keys(const __grid_constant__ cuda::StridedIndex<2> strided, const std::int64_t* __restrict__ index,
              std::int64_t stride, std::int64_t n, std::int64_t none,
              const __grid_constant__ cuda::FaultReporter report, std::int64_t* __restrict__ keys,
              std::int64_t* __restrict__ positions) {
  const std::int64_t i = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (i >= n) return;
  const Offsets at(strided, i);
  const std::int64_t choice = index[at.index];
  const bool good = inside(choice, report.size);
  if (!good) report(i, choice);
  keys[i] = good ? at.x + choice * stride : none;
  positions[i] = i;
}

// Adds source [outer, n, inner] to y [outer, none, inner] in packs of `width` elements. One thread for each
// pack of source, in the order of the keys; the thread of a run's first pack adds the run, if it is not long.
template<class T, int width>
__global__ void __launch_bounds__(threads, 4)
    add_runs(const __grid_constant__ SortedIndex sorted, const __grid_constant__ Division inner,
             const __grid_constant__ Division length, const T* __restrict__ source, T* __restrict__ y,
             std::int64_t packs) {
  using Pack = cuda::Pack<T, width>;
  const std::int64_t e = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (e >= packs) return;
  const std::int64_t row = inner(e), i = e - row * inner.divisor;
  const std::int64_t o = length(row), first = row - o * sorted.n;
  const std::int64_t key = sorted.keys[first];
  const std::int64_t own = sorted.positions[first];
  const bool continues = sorted.has(first - 1, key), is_long = sorted.has(first + long_run, key);
  if (key == sorted.none || continues || is_long) return;

  const Pack* from = reinterpret_cast<const Pack*>(source) + o * sorted.n * inner.divisor + i;
  Pack* to = reinterpret_cast<Pack*>(y) + (o * sorted.none + key) * inner.divisor + i;
  Pack sum = *to;
  cuda::Compute<T> sums[width];
#pragma unroll
  for (int w = 0; w < width; ++w) sums[w] = cuda::widen(sum.v[w]);
  bool more = true;
  for (std::int64_t at = first; more; at += batch)
    add_batch<T>(sums, [&](int k) {
      const auto entry = sorted.find(at + k, key);
      more = entry.found;
      return Term<T, width>{from + (more ? entry.position : own) * inner.divisor, more};
    });
#pragma unroll
  for (int w = 0; w < width; ++w) sum.v[w] = cuda::narrow<T>(sums[w]);
  *to = sum;
}

// Adds the long runs. There is a block for each multiple of `long_run` and each `width` columns. A long run
// contains a multiple of `long_run`, and the block of the first such multiple adds the run: all threads load
// the next tile while the first `width` threads, one per column, add the present one from shared memory.
template<class T>
__global__ void __launch_bounds__(threads)
    add_long_runs(const __grid_constant__ SortedIndex sorted, std::int64_t inner, std::int64_t columns,
                  int width, const T* __restrict__ source, T* __restrict__ y) {
  using Sum = cuda::Compute<T>;
  constexpr int fetches = tile / threads;
  __shared__ Sum tiles[2][tile];
  const int tid = static_cast<int>(threadIdx.x), lane = tid % width, step = threads / width;
  const std::int64_t across = ceil_div(columns, width), middle = blockIdx.x / across * long_run;
  const std::int64_t key = sorted.keys[middle];
  if (key == sorted.none || sorted.has(middle - long_run, key)) return;
  const std::int64_t first =
      middle + 1 - __syncthreads_count(tid < long_run && sorted.has(middle - tid, key));
  if (!sorted.has(first + long_run, key)) return;

  const std::int64_t column = blockIdx.x % across * width + lane;
  const std::int64_t readable = column < columns ? column : columns - 1;
  const std::int64_t o = readable / inner, i = readable - o * inner;
  const T* from = source + o * sorted.n * inner + i;
  T* to = y + (o * sorted.none + key) * inner + i;
  SortedIndex::Entry entries[fetches];
  T v[fetches];
  const auto locate = [&](std::int64_t at) {
#pragma unroll
    for (int k = 0; k < fetches; ++k) entries[k] = sorted.find(at + k * step + tid / width, key);
  };
  const auto fetch = [&] {
#pragma unroll
    for (int k = 0; k < fetches; ++k) {
      const T read = from[entries[k].position * inner];
      v[k] = entries[k].found ? read : negative_zero<T>();
    }
  };

  const int rows = fetches * step;
  const bool adds = tid < width && column < columns;
  Sum sum = adds ? cuda::widen(*to) : Sum{};
  locate(first);
  fetch();
  locate(first + rows);
  bool more = true;
  int turn = 0;
  for (std::int64_t at = first; more; at += rows, turn ^= 1) {
    Sum* now = tiles[turn];
#pragma unroll
    for (int k = 0; k < fetches; ++k) now[k * threads + tid] = cuda::widen(v[k]);
    more = sorted.has(at + rows, key);
    __syncthreads();  // the tile is written, and the adding threads are done with the other one
    if (more) {
      fetch();
      locate(at + 2 * rows);
    }
    if (!adds) continue;
    for (int r = 0; r < rows; r += batch)
#pragma unroll
      for (int k = 0; k < batch; ++k) sum = static_cast<Sum>(sum + now[(r + k) * width + tid]);
  }
  if (adds) *to = cuda::narrow<T>(sum);
}

}  // namespace bobbin::indexing
