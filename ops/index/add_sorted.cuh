// Adding along a sorted index: the kernels of index_add.cu for an index of more than a few elements.
#pragma once
#include "core/ceil_div.h"
#include "core/cuda/pack.cuh"
#include "ops/index/grid.cuh"

namespace bobbin::index_grid {

constexpr int threads = 256;
constexpr int batch = 8;             // loads in flight of a thread
constexpr std::int64_t limit = 128;  // longer runs are long, and longer indices sorted
constexpr std::int64_t tile = 2048;  // elements of a long run that are fetched at once

// What can be added to everything and changes nothing: 0 would make 0 of -0.
template<class T>
__device__ T nothing() {
  if constexpr (is_16bit_float<T>) {
    T x;
    x.bits = 0x8000;
    return x;
  } else {
    return static_cast<T>(-0.0);
  }
}

// A summand, or another element that is read in its place and not added: no load waits for a branch.
template<class T, int width>
struct Term {
  const cuda::Pack<T, width>* from;
  bool counts;
};

// Adds term(0), ..., term(batch - 1) in that order. They are looked for, and read, all at once.
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
      sums[w] = static_cast<Sum>(sums[w] + cuda::widen(terms[k].counts ? v[k].v[w] : nothing<T>()));
}

// Keys and positions in the order of the keys. A key is where y's elements begin that a position's are added
// to, in runs of `inner`; the largest, `none`, is that of an index outside its axis. Whatever is asked for is
// read at once, without waiting for what was asked before.
struct Sorted {
  const std::int64_t *keys, *positions;
  std::int64_t n, none;
  __device__ bool has(std::int64_t i, std::int64_t key) const {
    const std::int64_t at = i < 0 ? 0 : i < n ? i : n - 1, k = keys[at];
    return k == key && at == i;
  }
  struct Entry {
    std::int64_t position;  // some position, where nothing was found
    bool found;
  };
  // i is not negative.
  __device__ Entry find(std::int64_t i, std::int64_t key) const {
    const std::int64_t at = i < n ? i : n - 1, k = keys[at], position = positions[at];
    return {position, i < n && k == key};
  }
};

static __global__ void __launch_bounds__(threads)
    find_targets(const __grid_constant__ cuda::StridedIndex<2> walk, const std::int64_t* __restrict__ index,
                 std::int64_t stride, std::int64_t n, std::int64_t none,
                 const __grid_constant__ cuda::FaultReporter report, std::int64_t* __restrict__ keys,
                 std::int64_t* __restrict__ positions) {
  const std::int64_t i = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (i >= n) return;
  const Place place(walk, i);
  const std::int64_t choice = index[place.index];
  const bool good = inside(choice, report.size);
  if (!good) report(i, choice);
  keys[i] = good ? place.x + choice * stride : none;
  positions[i] = i;
}

// y [outer, none, inner] and source [outer, n, inner], in packs of `width` elements: a thread for each pack
// of the source, in the order of the keys. That of a run's first pack adds the whole run.
template<class T, int width>
__global__ void __launch_bounds__(threads, 4)
    add_runs(const __grid_constant__ Sorted sorted, const __grid_constant__ Quotient inner,
             const __grid_constant__ Quotient length, const T* __restrict__ source, T* __restrict__ y,
             std::int64_t packs) {
  using Pack = cuda::Pack<T, width>;
  const std::int64_t e = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (e >= packs) return;
  const std::int64_t row = inner(e), i = e - row * inner.divisor;
  const std::int64_t o = length(row), first = row - o * sorted.n;
  const std::int64_t key = sorted.keys[first];
  const std::int64_t own = sorted.positions[first];
  const bool goes_on = sorted.has(first - 1, key), is_long = sorted.has(first + limit, key);
  if (key == sorted.none || goes_on || is_long) return;

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

// The same for runs longer than `limit`. Such a run holds a multiple of `limit`, and the block of the first
// of these adds it, for `lanes` columns: all its threads fetch one tile while the first ones add another.
template<class T>
__global__ void __launch_bounds__(threads)
    add_long_runs(const __grid_constant__ Sorted sorted, std::int64_t inner, std::int64_t columns, int lanes,
                  const T* __restrict__ source, T* __restrict__ y) {
  using Sum = cuda::Compute<T>;
  constexpr int fetches = tile / threads;
  __shared__ Sum tiles[2][tile];
  const int tid = static_cast<int>(threadIdx.x), lane = tid % lanes, step = threads / lanes;
  const std::int64_t across = ceil_div(columns, lanes), middle = blockIdx.x / across * limit;
  const std::int64_t key = sorted.keys[middle];
  if (key == sorted.none || sorted.has(middle - limit, key)) return;
  const std::int64_t first = middle + 1 - __syncthreads_count(tid < limit && sorted.has(middle - tid, key));
  if (!sorted.has(first + limit, key)) return;

  const std::int64_t column = blockIdx.x % across * lanes + lane;
  const std::int64_t readable = column < columns ? column : columns - 1;
  const std::int64_t o = readable / inner, i = readable - o * inner;
  const T* from = source + o * sorted.n * inner + i;
  T* to = y + (o * sorted.none + key) * inner + i;
  Sorted::Entry entries[fetches];
  T v[fetches];
  const auto locate = [&](std::int64_t at) {
#pragma unroll
    for (int k = 0; k < fetches; ++k) entries[k] = sorted.find(at + k * step + tid / lanes, key);
  };
  const auto fetch = [&] {
#pragma unroll
    for (int k = 0; k < fetches; ++k) {
      const T read = from[entries[k].position * inner];
      v[k] = entries[k].found ? read : nothing<T>();
    }
  };

  const int rows = fetches * step;
  const bool adds = tid < lanes && column < columns;
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
    __syncthreads();  // of a tile's two turns, the sum of the first is done when all are here again
    if (more) {
      fetch();
      locate(at + 2 * rows);
    }
    if (!adds) continue;
    for (int r = 0; r < rows; r += batch)
#pragma unroll
      for (int k = 0; k < batch; ++k) sum = static_cast<Sum>(sum + now[(r + k) * lanes + tid]);
  }
  if (adds) *to = cuda::narrow<T>(sum);
}

}  // namespace bobbin::index_grid
