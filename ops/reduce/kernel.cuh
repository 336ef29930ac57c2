// The kernels of a reduction: reduce_segments, and combine_segments where a result has several segments.
//
// A thread reduces its elements with four accumulators in turn. These, and then the accumulators of the
// threads of a group, are combined pairwise. The order depends only on the configuration and on the alignment
// of x, which is the same in each run.
#pragma once
#include "ops/reduce/config.cuh"
#include "ops/reduce/reducers.h"
#include "ops/reduce/stored.cuh"

namespace bobbin::reduction {

/// A reducer's accumulator of n elements; n is there only where the reducer counts.
template<class F>
struct Accumulator {
  static constexpr bool has_index = requires(typename F::B b) { F::index(b, 0, 0); };
  typename F::A a;
  typename F::B b;
  std::int64_t n;

  __device__ __forceinline__ void init() {
    F::init(a, b, 0);
    n = 0;
  }
  /// Adds one element to an empty accumulator.
  __device__ __forceinline__ void reduce(typename F::In x, const F& f) {
    F::reduce(a, b, x, f.context(0, 0));
    if constexpr (F::counts) ++n;
  }
  __device__ __forceinline__ void combine(const Accumulator& s, const F& f) {
    if constexpr (F::counts) {
      if (s.n == 0) return;
      if (n == 0) {
        *this = s;
        return;
      }
    }
    f.combine(a, b, n, s.a, s.b, s.n);
    if constexpr (F::counts) n += s.n;
  }
  /// Makes a step an index.
  __device__ __forceinline__ void index(std::int64_t first, std::int64_t stride) {
    if constexpr (has_index) F::index(b, first, stride);
  }
  /// The accumulator of the thread `distance` further in the warp.
  __device__ __forceinline__ Accumulator shuffle_down(int distance) const {
    Accumulator s = *this;
    s.a = __shfl_down_sync(~0u, a, distance);
    if constexpr (F::values == 2) s.b = __shfl_down_sync(~0u, b, distance);
    if constexpr (F::counts) s.n = __shfl_down_sync(~0u, n, distance);
    return s;
  }
};

/// The accumulators of a thread. Steps and counts fit in int.
template<class F>
struct ThreadAccumulators {
  typename F::A a[vector_size];
  std::conditional_t<Accumulator<F>::has_index, int, typename F::B> b[vector_size];
  int n[vector_size];
};

/// A launch reduces elements [begin, begin + length) of the `total` elements of every result; length is at
/// most 2^30.
template<class F>
struct Args {
  F f;
  Dimensions kept, reduced;
  const char* x;
  void* y;                   // null: not asked for
  std::int64_t* index;       // null: not asked for
  Accumulator<F>* segments;  // [results, segment_count]; null: a result has one segment
  std::int64_t results, total, begin, length, segment_length, first_segment, segment_count;
  DType x_dtype, y_dtype;
  int group_bits, step_bits, item_bits;  // logarithms of group, step, and bytes of an element
  bool vectorized;
};

// The elements of a thread: first, first + round, ... below limit, and with each of them the three that
// follow at distances of `gap`.
struct ThreadRange {
  const char* x;  // address of element 0, where the reduced dimensions are one
  int begin;      // position of element 0 in the reduced dimensions
  int first, gap, round, limit;
};

// Offsets of the elements first, first + gap, ... in x.
__device__ __forceinline__ void element_offsets(const Dimensions& g, int first, int gap,
                                                std::int64_t (&at)[vector_size]) {
  std::uint32_t rest[vector_size];
#pragma unroll
  for (int j = 0; j < vector_size; ++j) rest[j] = static_cast<std::uint32_t>(first + j * gap), at[j] = 0;
#pragma unroll 1
  for (int d = 0; d + 1 < g.rank; ++d) {
    const auto size = static_cast<std::uint32_t>(g.size[d]);
#pragma unroll
    for (int j = 0; j < vector_size; ++j) {
      const std::uint32_t next = g.divide[d](rest[j]);
      at[j] += (rest[j] - next * size) * g.x(d);
      rest[j] = next;
    }
  }
#pragma unroll
  for (int j = 0; j < vector_size; ++j) at[j] += rest[j] * g.x(g.rank - 1);
}

// Offsets of a result, and of its first element in x.
struct ResultOffsets {
  std::int64_t x = 0, y = 0;
};
__device__ __forceinline__ ResultOffsets result_offsets(const Dimensions& g, std::int64_t result) {
  ResultOffsets at;
#pragma unroll 1
  for (int d = 0; d + 1 < g.rank; ++d) {
    const std::int64_t next = result / g.size[d], i = result - next * g.size[d];
    at.x += i * g.x(d);
    at.y += i * g.y(d);
    result = next;
  }
  at.x += result * g.x(g.rank - 1);
  at.y += result * g.y(g.rank - 1);
  return at;
}

// Reduces a thread's range. `line`: the reduced dimensions are one, with elements at multiples of one stride.
// Loads half as many vectors at a time where the registers do not suffice for all.
template<bool line, class F>
__device__ __forceinline__ void reduce_range(const Args<F>& a, const ThreadRange& r,
                                             ThreadAccumulators<F>& s) {
  using In = typename F::In;
  constexpr bool wide = Accumulator<F>::has_index && sizeof(In) == 8;
  constexpr int rounds = unroll / (line ? 1 : 2) / (wide ? 2 : 1);
  const std::int64_t stride = a.reduced.x(0);
  for (int e = r.first, done = 0; e < r.limit; e += rounds * r.round, done += rounds) {
    std::int64_t at[rounds][vector_size];
    if constexpr (!line) {
#pragma unroll
      for (int k = 0; k < rounds; ++k) element_offsets(a.reduced, r.begin + e + k * r.round, r.gap, at[k]);
    }
    In v[rounds][vector_size];
    cuda::visit_stored<In>(a.x_dtype, [&]<class T>(Type<T>) {
      using Pack = cuda::Pack<T, vector_size>;
      Pack raw[rounds] = {};
      const T* const x = reinterpret_cast<const T*>(r.x);
      if (a.vectorized) {
#pragma unroll
        for (int k = 0; k < rounds; ++k)
          if (e + k * r.round < r.limit)
            raw[k] = *reinterpret_cast<const Pack*>(x + (line ? e + k * r.round : at[k][0]));
      } else {
        const T* next = x + e * stride;
#pragma unroll
        for (int k = 0; k < rounds; ++k)
#pragma unroll
          for (int j = 0; j < vector_size; ++j, next += r.gap * stride)
            if (e + k * r.round + j * r.gap < r.limit) raw[k].v[j] = line ? *next : x[at[k][j]];
      }
#pragma unroll
      for (int k = 0; k < rounds; ++k)
#pragma unroll
        for (int j = 0; j < vector_size; ++j) v[k][j] = static_cast<In>(cuda::widen<T>(raw[k].v[j]));
    });
#pragma unroll
    for (int k = 0; k < rounds; ++k) {
      const auto context = a.f.context(done + k, done + k);
#pragma unroll
      for (int j = 0; j < vector_size; ++j)
        if (e + k * r.round + j * r.gap < r.limit) {
          F::reduce(s.a[j], s.b[j], v[k][j], context);
          if constexpr (F::counts) ++s.n[j];
        }
    }
  }
}

// Reduces the elements that thread t of a group has among n elements from `begin` on. `origin` is the offset
// of the result's first element.
template<class F>
__device__ __forceinline__ Accumulator<F> thread_reduce(const Args<F>& a, std::int64_t origin, int begin,
                                                        int n, int t) {
  const int group = 1 << a.group_bits;
  const bool line = a.reduced.rank == 1;
  const char* x = a.x + ((origin + (line ? begin * a.reduced.x(0) : 0)) << a.item_bits);
  int head = 0, limit = n;  // elements before the first aligned vector, and in vectors
  if (a.vectorized) {
    head = static_cast<int>(-(reinterpret_cast<std::uintptr_t>(x) >> a.item_bits) & (vector_size - 1));
    if (head > n) head = n;
    limit = (n - head) / vector_size * vector_size;
    x += static_cast<std::int64_t>(head) << a.item_bits;
  }
  const ThreadRange range{
      x,    begin + head, a.vectorized ? t * vector_size : t, a.vectorized ? 1 : group, vector_size * group,
      limit};

  ThreadAccumulators<F> own;
#pragma unroll
  for (int j = 0; j < vector_size; ++j) F::init(own.a[j], own.b[j], 0), own.n[j] = 0;
  if (line)
    reduce_range<true>(a, range, own);
  else
    reduce_range<false>(a, range, own);
  Accumulator<F> s[vector_size];
#pragma unroll
  for (int j = 0; j < vector_size; ++j) {
    s[j] = {own.a[j], own.b[j], own.n[j]};
    s[j].index(a.begin + range.begin + range.first + j * range.gap, range.round);
  }
#pragma unroll
  for (int half = vector_size / 2; half > 0; half /= 2)
#pragma unroll
    for (int j = 0; j < half; ++j) s[j].combine(s[j + half], a.f);

  for (int i = t; i < n - limit; i += group) {  // the elements outside vectors
    const int e = i < head ? i - head : limit + i - head;
    Accumulator<F> one;
    one.init();
    cuda::visit_stored<typename F::In>(a.x_dtype, [&]<class T>(Type<T>) {
      const T v = reinterpret_cast<const T*>(x)[e];
      one.reduce(static_cast<typename F::In>(cuda::widen<T>(v)), a.f);
    });
    one.index(a.begin + range.begin + e, 0);
    s[0].combine(one, a.f);
  }
  return s[0];
}

// Combines the accumulators of a group, whose threads are `step` apart, in its thread 0. All threads of the
// block must call it.
template<class F>
__device__ __forceinline__ void group_reduce(const F& f, Accumulator<F>& s, int t, int group, int step) {
  __shared__ Accumulator<F> shared[max_threads];
  int half = group / 2;
  for (; half * step >= 32; half /= 2) {
    if (t >= half && t < 2 * half) shared[threadIdx.x] = s;
    __syncthreads();
    if (t < half) s.combine(shared[threadIdx.x + half * step], f);
  }
  for (; half > 0; half /= 2) s.combine(s.shuffle_down(half * step), f);
}

// Writes a result, at offset `at`.
template<class F>
__device__ __forceinline__ void write_result(const Args<F>& a, const Accumulator<F>& s, std::int64_t at) {
  if (a.y) {
    const auto v = a.f.project(s.a, s.b, a.total);
    cuda::visit_stored<decltype(a.f.project(s.a, s.b, 0))>(
        a.y_dtype, [&]<class T>(Type<T>) { static_cast<T*>(a.y)[at] = cuda::stored<T>(v); });
  }
  if constexpr (Accumulator<F>::has_index)
    if (a.index) a.index[at] = s.b;
}

// Reduces one segment of each result: blockIdx.y is the segment.
template<class F>
__global__ void __launch_bounds__(max_threads) reduce_segments(const __grid_constant__ Args<F> a) {
  const int thread = static_cast<int>(threadIdx.x), step = 1 << a.step_bits, group = 1 << a.group_bits;
  const int t = (thread >> a.step_bits) & (group - 1);
  const std::int64_t result = static_cast<std::int64_t>(blockIdx.x) * (blockDim.x >> a.group_bits) +
                              (thread >> (a.group_bits + a.step_bits) << a.step_bits) + (thread & (step - 1));
  const bool valid = result < a.results;
  ResultOffsets at;
  Accumulator<F> s;
  s.init();
  if (valid) {
    at = result_offsets(a.kept, result);
    const std::int64_t begin = blockIdx.y * a.segment_length, end = begin + a.segment_length;
    const std::int64_t n = (end < a.length ? end : a.length) - begin;
    s = thread_reduce(a, at.x, static_cast<int>(begin), static_cast<int>(n > 0 ? n : 0), t);
  }
  group_reduce(a.f, s, t, group, step);
  if (!valid || t > 0) return;
  if (a.segments)
    a.segments[result * a.segment_count + a.first_segment + blockIdx.y] = s;
  else
    write_result(a, s, at.y);
}

constexpr int combine_threads = 128;

// Combines the segments of each result. A group is consecutive threads.
template<class F>
__global__ void __launch_bounds__(combine_threads)
    combine_segments(const __grid_constant__ Args<F> a, const int group) {
  const int t = static_cast<int>(threadIdx.x) & (group - 1);
  const std::int64_t result = (static_cast<std::int64_t>(blockIdx.x) * combine_threads + threadIdx.x) / group;
  Accumulator<F> s;
  s.init();
  if (result < a.results) {
#pragma unroll 4
    for (std::int64_t i = t; i < a.segment_count; i += group)
      s.combine(a.segments[result * a.segment_count + i], a.f);
  }
  group_reduce(a.f, s, t, group, 1);
  if (result < a.results && t == 0) write_result(a, s, result_offsets(a.kept, result).y);
}

}  // namespace bobbin::reduction
