// Rows along another axis than the last, outer x columns x inner: threads take V neighbouring rows each (a
// pack, or one element where inner is no multiple of a pack), and a few steps down the columns. What does not
// fit in registers waits in shared memory, or is read again.
#pragma once
#include "ops/cuda/rows/algorithm.h"
#include "ops/cuda/rows/functor.cuh"

namespace bobbin::cuda {

/// `stash`: shared memory takes all that a block reads; else, beyond one chunk, it is read twice.
template<class F, bool packs>
__global__ void __launch_bounds__(column_threads, 1)
    column_rows(const RowArgs<F> a, const std::int64_t inner, const bool stash) {
  using T = typename F::Storage;
  using C = Compute<T>;
  using Held = std::conditional_t<packs, uint4, T>;
  constexpr int n = F::inputs, V = packs ? per_pack<T> : 1, width = column_width(packs),
                K = column_steps(packs, n);
  extern __shared__ uint4 shared[];
  __shared__ Stats<F> of_warp[column_threads / 32][width * V];

  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int tx = thread % width, ty = thread / width, step = threads / width;
  const std::int64_t group = blockIdx.x * static_cast<std::int64_t>(width) + tx, across = inner / V;
  const bool there = group < a.rows / V;
  const std::int64_t o = group / across, i = group % across * V, r = o * inner + i;
  const std::int64_t base = o * a.columns * inner + i;

  Held x[K][n];
  Held* place = reinterpret_cast<Held*>(shared) + thread;
  // Steps k of the chunk whose first column is `from`, from memory or, the second time, from the stash.
  const auto load = [&](std::int64_t from, bool again) {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const std::int64_t c = from + ty + k * step;
      const bool valid = there && c < a.columns;
      const std::int64_t chunk = from / (K * step);
#pragma unroll
      for (int in = 0; in < n; ++in) {
        Held* const kept = place + ((chunk * K + k) * n + in) * threads;
        if (again && stash) {
          x[k][in] = *kept;
          continue;
        }
        const T* const at = a.in[in] + base + c * inner;
        if constexpr (packs) {
          x[k][in] = load_pack(at, valid, blank<F>(in));
        } else {
          x[k][in] = valid ? *at : narrow<T>(blank_element<F>(in));
        }
        if (stash) *kept = x[k][in];
      }
    }
  };
  const auto widened = [&](const Held& held, C(&v)[V]) {
    if constexpr (packs)
      unpack<T>(held, v);
    else
      v[0] = widen<T>(held);
  };
  // Calls f(j, element j of each input) for the V elements of step k.
  const auto each = [&](int k, auto&& f) {
    C v[n][V];
#pragma unroll
    for (int in = 0; in < n; ++in) widened(x[k][in], v[in]);
#pragma unroll
    for (int j = 0; j < V; ++j) {
      C one[n][1];
#pragma unroll
      for (int in = 0; in < n; ++in) one[in][0] = v[in][j];
      f(j, one);
      v[0][j] = one[0][0];
    }
    if constexpr (packs)
      return pack<T>(v[0]);
    else
      return narrow<T>(v[0][0]);
  };

  if (!a.early) await_previous();
  typename F::Row row[V];
  Stats<F> own[V];
#pragma unroll
  for (int j = 0; j < V; ++j) {
    row[j] = there ? a.f.row(r + j) : typename F::Row{};
    own[j] = Stats<F>::none();
  }
  const std::int64_t chunk = static_cast<std::int64_t>(K) * step;
  for (std::int64_t from = 0; from < a.columns; from += chunk) {
    load(from, false);
    if constexpr (F::peak) {
      C max[V];
#pragma unroll
      for (int j = 0; j < V; ++j) max[j] = own[j].max;
#pragma unroll
      for (int k = 0; k < K; ++k) each(k, [&](int j, C(&one)[n][1]) { max[j] = larger(max[j], one[0][0]); });
#pragma unroll
      for (int j = 0; j < V; ++j) {
        a.f.rescale(own[j].sum, own[j].max, max[j]);
        own[j].max = max[j];
      }
    }
    C part[V][F::sums] = {};  // short sums of sums round less
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const std::int64_t c = from + ty + k * step;
      each(k, [&](int j, C(&one)[n][1]) {
        a.f.add(one, own[j].max, part[j], row[j], c < a.columns ? c : a.columns);
      });
    }
#pragma unroll
    for (int j = 0; j < V; ++j)
#pragma unroll
      for (int i = 0; i < F::sums; ++i) own[j].sum[i] += part[j][i];
  }

#pragma unroll
  for (int j = 0; j < V; ++j) {
    const Stats<F> s = lanes_merge(a.f, own[j], 32, width);
    if (thread % 32 < width) of_warp[thread / 32][tx * V + j] = s;
  }
  __syncthreads();
  for (int j = thread; j < width * V; j += threads) {
    Stats<F> all = of_warp[0][j];
    for (int w = 1; w < threads / 32; ++w) all.max = larger(all.max, of_warp[w][j].max);
    double sum[F::sums] = {};
    for (int w = 0; w < threads / 32; ++w) {
      Stats<F> s = of_warp[w][j];
      a.f.rescale(s.sum, s.max, all.max);
#pragma unroll
      for (int i = 0; i < F::sums; ++i) sum[i] += s.sum[i];
    }
#pragma unroll
    for (int i = 0; i < F::sums; ++i) all.sum[i] = static_cast<C>(sum[i]);
    of_warp[0][j] = all;
  }
  __syncthreads();

  typename F::Finish finish[V];
#pragma unroll
  for (int j = 0; j < V; ++j) {
    const Stats<F> total = of_warp[0][tx * V + j];
    finish[j] = a.f.finish(total.max, total.max, total.sum, row[j]);
    if (there && ty == 0) a.f.result(r + j, row[j], total.max, total.sum);
  }
  if (a.out) {
    for (std::int64_t from = 0; from < a.columns; from += chunk) {
      if (a.columns > chunk) load(from, true);
#pragma unroll
      for (int k = 0; k < K; ++k) {
        const std::int64_t c = from + ty + k * step;
        const Held y =
            each(k, [&](int j, C(&one)[n][1]) { a.f.template put<false>(one, finish[j], row[j], c); });
        if (there && c < a.columns) *reinterpret_cast<Held*>(a.out + base + c * inner) = y;
      }
    }
  }
}

}  // namespace bobbin::cuda
