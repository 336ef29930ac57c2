// The kernels of a reduction: one for every arrangement, and one that merges parts.
//
// A thread folds its elements in four lanes; then lanes, and the threads of a team, are folded by halves.
// That order depends on nothing but the plan and where rows begin, so two runs agree to the bit.
#pragma once
#include "ops/cuda/stored.cuh"
#include "ops/reduce/folds.h"
#include "ops/reduce/plan.cuh"

namespace bobbin::reduction {

/// What a fold keeps of n elements; n is kept only where the fold counts.
template<class F>
struct State {
  static constexpr bool has_index = requires(typename F::B b) { F::name(b, 0, 0); };
  typename F::A a;
  typename F::B b;
  std::int64_t n;

  __device__ __forceinline__ void start() {
    F::start(a, b, 0);
    n = 0;
  }
  /// The only element.
  __device__ __forceinline__ void add(typename F::In x, const F& f) {
    F::add(a, b, x, f.at(0, 0));
    if constexpr (F::counts) ++n;
  }
  __device__ __forceinline__ void merge(const State& s) {
    if constexpr (F::counts) {
      if (s.n == 0) return;
      if (n == 0) {
        *this = s;
        return;
      }
    }
    F::merge(a, b, n, s.a, s.b, s.n);
    if constexpr (F::counts) n += s.n;
  }
  /// Where b is an index.
  __device__ __forceinline__ void name(std::int64_t first, std::int64_t stride) {
    if constexpr (has_index) F::name(b, first, stride);
  }
  /// That of the thread so much further on in the warp.
  __device__ __forceinline__ State ahead(int distance) const {
    State s = *this;
    s.a = __shfl_down_sync(~0u, a, distance);
    if constexpr (F::words == 2) s.b = __shfl_down_sync(~0u, b, distance);
    if constexpr (F::counts) s.n = __shfl_down_sync(~0u, n, distance);
    return s;
  }
};

/// What a thread keeps: steps and counts are small.
template<class F>
struct Lanes {
  typename F::A a[lanes];
  std::conditional_t<State<F>::has_index, int, typename F::B> b[lanes];
  int n[lanes];
};

/// Elements [begin, begin + length) of every result, of which `all` make one; at most 2^30.
template<class F>
struct Args {
  F f;
  Grid kept, reduced;
  const char* x;
  void* y;              // or null
  std::int64_t* index;  // or null
  State<F>* parts;      // or null: there is one
  std::int64_t results, all, begin, length, part_length, first_part, all_parts;
  DType x_dtype, y_dtype;
  int team_bits, step_bits, item_bits;
  bool packed;
};

// What a thread reads: element `first` and on before `limit`, in rounds of four lanes that are `gap` apart.
struct Run {
  const char* x;  // where element 0 lies, if they are in a line
  int begin;      // of element 0 in the grid
  int first, gap, round, limit;
};

// Where elements first, first + gap, ... lie.
__device__ __forceinline__ void locate(const Grid& g, int first, int gap, std::int64_t (&at)[lanes]) {
  std::uint32_t rest[lanes];
#pragma unroll
  for (int j = 0; j < lanes; ++j) rest[j] = static_cast<std::uint32_t>(first + j * gap), at[j] = 0;
#pragma unroll 1
  for (int d = 0; d + 1 < g.rank; ++d) {
    const auto size = static_cast<std::uint32_t>(g.size[d]);
#pragma unroll
    for (int j = 0; j < lanes; ++j) {
      const std::uint32_t next = g.divide[d](rest[j]);
      at[j] += (rest[j] - next * size) * g.x[d];
      rest[j] = next;
    }
  }
#pragma unroll
  for (int j = 0; j < lanes; ++j) at[j] += rest[j] * g.x[g.rank - 1];
}

// Where a result's first element lies, and the result.
struct Place {
  std::int64_t x = 0, y = 0;
};
__device__ __forceinline__ Place locate(const Grid& g, std::int64_t result) {
  Place place;
#pragma unroll 1
  for (int d = 0; d + 1 < g.rank; ++d) {
    const std::int64_t next = result / g.size[d], i = result - next * g.size[d];
    place.x += i * g.x[d];
    place.y += i * g.y[d];
    result = next;
  }
  place.x += result * g.x[g.rank - 1];
  place.y += result * g.y[g.rank - 1];
  return place;
}

// Elements in a line, or anywhere. In a line they lie at multiples of the stride. Half the loads are in
// flight where registers would not do for all.
template<bool line, class F>
__device__ __forceinline__ void fold_run(const Args<F>& a, const Run& r, Lanes<F>& s) {
  using In = typename F::In;
  constexpr bool wide = State<F>::has_index && sizeof(In) == 8;
  constexpr int rounds = reduction::rounds / (line ? 1 : 2) / (wide ? 2 : 1);
  const std::int64_t stride = a.reduced.x[0];
  for (int e = r.first, done = 0; e < r.limit; e += rounds * r.round, done += rounds) {
    std::int64_t at[rounds][lanes];
    if constexpr (!line) {
#pragma unroll
      for (int k = 0; k < rounds; ++k) locate(a.reduced, r.begin + e + k * r.round, r.gap, at[k]);
    }
    In v[rounds][lanes];
    cuda::visit_stored<In>(a.x_dtype, [&]<class T>(Type<T>) {
      using Pack = cuda::Pack<T, lanes>;
      Pack raw[rounds] = {};
      const T* const x = reinterpret_cast<const T*>(r.x);
      if (a.packed) {
#pragma unroll
        for (int k = 0; k < rounds; ++k)
          if (e + k * r.round < r.limit)
            raw[k] = *reinterpret_cast<const Pack*>(x + (line ? e + k * r.round : at[k][0]));
      } else {
        const T* next = x + e * stride;
#pragma unroll
        for (int k = 0; k < rounds; ++k)
#pragma unroll
          for (int j = 0; j < lanes; ++j, next += r.gap * stride)
            if (e + k * r.round + j * r.gap < r.limit) raw[k].v[j] = line ? *next : x[at[k][j]];
      }
#pragma unroll
      for (int k = 0; k < rounds; ++k)
#pragma unroll
        for (int j = 0; j < lanes; ++j) v[k][j] = static_cast<In>(cuda::widen<T>(raw[k].v[j]));
    });
#pragma unroll
    for (int k = 0; k < rounds; ++k) {
      const auto context = a.f.at(done + k, done + k);
#pragma unroll
      for (int j = 0; j < lanes; ++j)
        if (e + k * r.round + j * r.gap < r.limit) {
          F::add(s.a[j], s.b[j], v[k][j], context);
          if constexpr (F::counts) ++s.n[j];
        }
    }
  }
}

// What member t of a team finds in n elements from `begin` on, of the result whose first one lies at
// `origin`.
template<class F>
__device__ __forceinline__ State<F> fold_elements(const Args<F>& a, std::int64_t origin, int begin, int n,
                                                  int t) {
  const int team = 1 << a.team_bits;
  const bool line = a.reduced.rank == 1;
  const char* x = a.x + ((origin + (line ? begin * a.reduced.x[0] : 0)) << a.item_bits);
  int head = 0, limit = n;  // elements before the first pack, and those in packs
  if (a.packed) {
    head = static_cast<int>(-(reinterpret_cast<std::uintptr_t>(x) >> a.item_bits) & (lanes - 1));
    if (head > n) head = n;
    limit = (n - head) / lanes * lanes;
    x += static_cast<std::int64_t>(head) << a.item_bits;
  }
  const Run run{x, begin + head, a.packed ? t * lanes : t, a.packed ? 1 : team, lanes * team, limit};

  Lanes<F> lane;
#pragma unroll
  for (int j = 0; j < lanes; ++j) F::start(lane.a[j], lane.b[j], 0), lane.n[j] = 0;
  if (line)
    fold_run<true>(a, run, lane);
  else
    fold_run<false>(a, run, lane);
  State<F> s[lanes];
#pragma unroll
  for (int j = 0; j < lanes; ++j) {
    s[j] = {lane.a[j], lane.b[j], lane.n[j]};
    s[j].name(a.begin + run.begin + run.first + j * run.gap, run.round);
  }
#pragma unroll
  for (int half = lanes / 2; half > 0; half /= 2)
#pragma unroll
    for (int j = 0; j < half; ++j) s[j].merge(s[j + half]);

  for (int i = t; i < n - limit; i += team) {  // the elements outside packs
    const int e = i < head ? i - head : limit + i - head;
    State<F> one;
    one.start();
    cuda::visit_stored<typename F::In>(a.x_dtype, [&]<class T>(Type<T>) {
      const T v = reinterpret_cast<const T*>(x)[e];
      one.add(static_cast<typename F::In>(cuda::widen<T>(v)), a.f);
    });
    one.name(a.begin + run.begin + e, 0);
    s[0].merge(one);
  }
  return s[0];
}

// The states of a team, whose members are `step` threads apart, into that of member 0. For whole blocks.
template<class F>
__device__ __forceinline__ void fold_team(State<F>& s, int t, int team, int step) {
  __shared__ State<F> held[most];
  int half = team / 2;
  for (; half * step >= 32; half /= 2) {
    if (t >= half && t < 2 * half) held[threadIdx.x] = s;
    __syncthreads();
    if (t < half) s.merge(held[threadIdx.x + half * step]);
  }
  for (; half > 0; half /= 2) s.merge(s.ahead(half * step));
}

template<class F>
__device__ __forceinline__ void finish(const Args<F>& a, const State<F>& s, std::int64_t at) {
  if (a.y) {
    const auto v = a.f.value(s.a, s.b, a.all);
    cuda::visit_stored<decltype(a.f.value(s.a, s.b, 0))>(
        a.y_dtype, [&]<class T>(Type<T>) { static_cast<T*>(a.y)[at] = cuda::stored<T>(v); });
  }
  if constexpr (State<F>::has_index)
    if (a.index) a.index[at] = s.b;
}

template<class F>
__global__ void __launch_bounds__(most) fold_parts(const __grid_constant__ Args<F> a) {
  const int thread = static_cast<int>(threadIdx.x), step = 1 << a.step_bits, team = 1 << a.team_bits;
  const int t = (thread >> a.step_bits) & (team - 1);
  const std::int64_t result = static_cast<std::int64_t>(blockIdx.x) * (blockDim.x >> a.team_bits) +
                              (thread >> (a.team_bits + a.step_bits) << a.step_bits) + (thread & (step - 1));
  const bool there = result < a.results;
  Place place;
  State<F> s;
  s.start();
  if (there) {
    place = locate(a.kept, result);
    const std::int64_t begin = blockIdx.y * a.part_length, end = begin + a.part_length;
    const std::int64_t n = (end < a.length ? end : a.length) - begin;
    s = fold_elements(a, place.x, static_cast<int>(begin), static_cast<int>(n > 0 ? n : 0), t);
  }
  fold_team(s, t, team, step);
  if (!there || t > 0) return;
  if (a.parts)
    a.parts[result * a.all_parts + a.first_part + blockIdx.y] = s;
  else
    finish(a, s, place.y);
}

constexpr int merge_threads = 128;

// Teams of neighbours.
template<class F>
__global__ void __launch_bounds__(merge_threads)
    merge_parts(const __grid_constant__ Args<F> a, const int team) {
  const int t = static_cast<int>(threadIdx.x) & (team - 1);
  const std::int64_t result = (static_cast<std::int64_t>(blockIdx.x) * merge_threads + threadIdx.x) / team;
  State<F> s;
  s.start();
  if (result < a.results) {
#pragma unroll 4
    for (std::int64_t i = t; i < a.all_parts; i += team) s.merge(a.parts[result * a.all_parts + i]);
  }
  fold_team(s, t, team, 1);
  if (result < a.results && t == 0) finish(a, s, locate(a.kept, result).y);
}

}  // namespace bobbin::reduction
