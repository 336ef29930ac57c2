// Algorithm::strided, for rows along another axis than the last (outer x columns x inner elements): each
// thread takes one pack of neighbouring rows, or one row where inner is no multiple of a pack, and every
// `step`th column of them. Columns that do not fit in registers are kept in shared memory, or read twice.
#pragma once
#include "ops/cuda/rows/functor.cuh"

namespace bobbin::cuda {

/// What a launch does. Where the rows would occupy few blocks, several blocks along y share the columns, and
/// one launch each computes the sums of every block's part, those of the others in rows that an element
/// dominates (with WithDominant), and the output.
enum class StridedStage { whole, sums, others, store };

/// The parts of the columns that blocks along y take.
template<class F>
struct StridedParts {
  StridedStage stage;
  std::int64_t columns;  ///< of a part
  int count;
  Stats<F>*sums, *others;  ///< of each part and row
};

/// The elements that one thread of strided_rows holds, K columns of its V rows at a time, and the steps on
/// them. A block handles `chunk` columns at a time.
template<class F, bool packs>
struct StridedRows {
  using T = typename F::Storage;
  using C = Compute<T>;
  using Row = typename F::Row;
  using Held = std::conditional_t<packs, uint4, T>;
  static constexpr int n = F::inputs, V = packs ? per_pack<T> : 1, width = strided_width(packs),
                       K = strided_steps(packs, n);

  const RowArgs<F>& a;
  const std::int64_t inner;
  const bool cached;
  const std::int64_t part_columns;
  const std::int64_t begin = blockIdx.y * part_columns,
                     end = smaller(begin + part_columns, a.columns);  ///< columns
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int tx = static_cast<int>(threadIdx.x % width), ty = static_cast<int>(threadIdx.x / width),
            step = static_cast<int>(blockDim.x / width);
  const std::int64_t group = blockIdx.x * static_cast<std::int64_t>(width) + tx, groups_per_slab = inner / V;
  const bool valid = group < a.rows / V;
  const std::int64_t o = group / groups_per_slab, i = group % groups_per_slab * V;  ///< outer and inner index
  const std::int64_t r = o * inner + i, base = o * a.columns * inner + i;           ///< first row, element
  const std::int64_t chunk = static_cast<std::int64_t>(K) * step;
  Held* const cache = reinterpret_cast<Held*>(shared_packs()) + thread;

  /// The column of step k of the chunk that begins at column `from`.
  __device__ __forceinline__ std::int64_t column(std::int64_t from, int k) const {
    return from + ty + k * step;
  }

  /// Loads a chunk; the second time, from the cache if there is one.
  __device__ __forceinline__ void load(std::int64_t from, bool again, Held (&x)[K][n]) const {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const std::int64_t c = column(from, k);
      const bool has = valid && c < end;
      const std::int64_t index = (from - begin) / (K * step);
#pragma unroll
      for (int in = 0; in < n; ++in) {
        Held* const kept = cache + ((index * K + k) * n + in) * threads;
        if (again && cached) {
          x[k][in] = *kept;
          continue;
        }
        const T* const at = a.in[in] + base + c * inner;
        if constexpr (packs) {
          x[k][in] = load_pack(at, has, padding<F>(in));
        } else {
          x[k][in] = has ? *at : narrow<T>(padding_element<F>(in));
        }
        if (cached) *kept = x[k][in];
      }
    }
  }

  static __device__ __forceinline__ void unpack_held(const Held& held, C (&v)[V]) {
    if constexpr (packs)
      unpack<T>(held, v);
    else
      v[0] = widen<T>(held);
  }

  /// Calls f(j, element j of each input) for the V elements of a step. Returns the elements of the first
  /// input as f leaves them.
  template<class Each>
  static __device__ __forceinline__ Held each(const Held (&x)[n], Each&& f) {
    C v[n][V];
#pragma unroll
    for (int in = 0; in < n; ++in) unpack_held(x[in], v[in]);
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
  }

  /// The maxima and the sums of the elements that this thread reads, by f.add.
  template<class Add>
  __device__ __forceinline__ void reduce(const Add& f, Held (&x)[K][n], const Row (&row)[V],
                                         Stats<F> (&own)[V]) const {
    for (std::int64_t from = begin; from < end; from += chunk) {
      load(from, false, x);
      if constexpr (F::has_max) {
        C max[V];
#pragma unroll
        for (int j = 0; j < V; ++j) max[j] = own[j].max;
#pragma unroll
        for (int k = 0; k < K; ++k)
          each(x[k], [&](int j, C(&one)[n][1]) { max[j] = larger(max[j], one[0][0]); });
#pragma unroll
        for (int j = 0; j < V; ++j) {
          a.f.rescale(own[j].sum, own[j].max, max[j]);
          own[j].max = max[j];
        }
      }
      C part[V][F::sums] = {};  // adding the sums of short parts rounds less
#pragma unroll
      for (int k = 0; k < K; ++k) {
        const std::int64_t c = column(from, k);
        each(x[k], [&](int j, C(&one)[n][1]) {
          f.add(one, own[j].max, part[j], row[j], c < end ? c : a.columns);
          find_dominant(f, one, own[j].max);
        });
      }
#pragma unroll
      for (int j = 0; j < V; ++j)
#pragma unroll
        for (int i = 0; i < F::sums; ++i) own[j].sum[i] += part[j][i];
    }
  }

  /// Merges the statistics of all threads of the block into `total`; if `others`, only of rows that an
  /// element dominates.
  template<bool others = false>
  __device__ __forceinline__ void exchange(const Stats<F> (&own)[V],
                                           Stats<F> (&by_warp)[strided_threads / 32][width * V],
                                           Stats<F> (&total)[width * V]) const {
#pragma unroll
    for (int j = 0; j < V; ++j) {
      const Stats<F> s = warp_merge(a.f, own[j], 32, width);
      if (thread % 32 < width) by_warp[thread / 32][tx * V + j] = s;
    }
    __syncthreads();
    for (int j = thread; j < width * V; j += threads) {
      Stats<F> all = by_warp[0][j];
      for (int w = 1; w < threads / 32; ++w) all.max = merge_max<F>(all.max, by_warp[w][j].max);
      double sum[F::sums] = {};
      for (int w = 0; w < threads / 32; ++w) {
        Stats<F> s = by_warp[w][j];
        a.f.rescale(s.sum, s.max, all.max);
#pragma unroll
        for (int i = 0; i < F::sums; ++i) sum[i] += s.sum[i];
      }
#pragma unroll
      for (int i = 0; i < F::sums; ++i) all.sum[i] = static_cast<C>(sum[i]);
      if (!others || all.dominated()) total[j] = all;
    }
    __syncthreads();
  }

  /// Replaces the sums of rows that an element dominates; returns whether there is one.
  __device__ __forceinline__ bool add_others(Held (&x)[K][n], const Row (&row)[V],
                                             Stats<F> (&by_warp)[strided_threads / 32][width * V],
                                             Stats<F> (&total)[width * V]) const {
    if (!__syncthreads_or(thread < width * V && total[thread].dominated())) return false;
    Stats<F> own[V];
#pragma unroll
    for (int j = 0; j < V; ++j) {
      own[j] = Stats<F>::none();
      own[j].max = total[tx * V + j].max;
    }
    reduce(Others<F>{a.f}, x, row, own);
    if (ty > 0)  // so that the exchange does not count it again
#pragma unroll
      for (int j = 0; j < V; ++j) own[j].max = Stats<F>::none().max;
    exchange<true>(own, by_warp, total);
    return true;
  }

  /// The entry of this block's first row in the statistics of a part.
  __device__ __forceinline__ std::int64_t entry(std::int64_t part) const {
    return part * a.rows + blockIdx.x * static_cast<std::int64_t>(width) * V;
  }
  __device__ __forceinline__ void write_part(const StridedParts<F>& p,
                                             const Stats<F> (&total)[width * V]) const {
    Stats<F>* const to = (p.stage == StridedStage::others ? p.others : p.sums) + entry(blockIdx.y);
    for (int j = thread; j < width * V && blockIdx.x * static_cast<std::int64_t>(width) * V + j < a.rows;
         j += threads)
      to[j] = total[j];
  }
  /// Merges the statistics of all parts.
  __device__ __forceinline__ void merge_parts(const StridedParts<F>& p, Stats<F> (&total)[width * V]) const {
    for (int j = thread; j < width * V && blockIdx.x * static_cast<std::int64_t>(width) * V + j < a.rows;
         j += threads) {
      Stats<F> all = Stats<F>::none(), others = Stats<F>::none();
#pragma unroll 8
      for (int i = 0; i < p.count; ++i) all = merge(a.f, all, p.sums[entry(i) + j]);
      if (p.stage == StridedStage::store && all.dominated()) {
        for (int i = 0; i < p.count; ++i) others = merge(a.f, others, p.others[entry(i) + j]);
#pragma unroll
        for (int s = 0; s < F::sums; ++s) all.sum[s] = others.sum[s];
      }
      total[j] = all;
    }
    __syncthreads();
  }

  /// Writes the output. If there is only one chunk, x still holds it, unless it is to be read `again`.
  __device__ __forceinline__ void store(Held (&x)[K][n], const Row (&row)[V],
                                        const typename F::Finish (&finish)[V], bool again) const {
    for (std::int64_t from = begin; from < end; from += chunk) {
      if (again || end - begin > chunk) load(from, !again, x);
#pragma unroll
      for (int k = 0; k < K; ++k) {
        const std::int64_t c = column(from, k);
        const Held y =
            each(x[k], [&](int j, C(&one)[n][1]) { a.f.template put<false>(one, finish[j], row[j], c); });
        if (valid && c < end) *reinterpret_cast<Held*>(a.out + base + c * inner) = y;
      }
    }
  }
};

/// `packs`: a thread holds packs. `cached`: shared memory keeps all that a block reads; else the columns are
/// read twice, if there is more than one chunk.
template<class F, bool packs>
__global__ void __launch_bounds__(strided_threads, F::has_max ? 1 : 2)
    strided_rows(const RowArgs<F> a, const std::int64_t inner, const bool cached,
                 const StridedParts<F> parts) {
  using Rows = StridedRows<F, packs>;
  constexpr int V = Rows::V;
  __shared__ Stats<F> by_warp[strided_threads / 32][Rows::width * V], total[Rows::width * V];
  const Rows rows{a, inner, cached, parts.columns};
  if (!a.early) await_previous();
  typename F::Row row[V];
  Stats<F> own[V];
#pragma unroll
  for (int j = 0; j < V; ++j) {
    row[j] = rows.valid ? a.f.row(rows.r + j) : typename F::Row{};
    own[j] = Stats<F>::none();
  }
  typename Rows::Held x[Rows::K][F::inputs];
  const StridedStage stage = parts.stage;
  if (stage == StridedStage::whole || stage == StridedStage::sums) {
    rows.reduce(a.f, x, row, own);
    rows.exchange(own, by_warp, total);
  } else {
    rows.merge_parts(parts, total);
  }
  if constexpr (has_dominant<F>)
    if (stage == StridedStage::whole || stage == StridedStage::others)
      if (!rows.add_others(x, row, by_warp, total) && stage == StridedStage::others) return;
  if (stage == StridedStage::sums || stage == StridedStage::others) return rows.write_part(parts, total);

  typename F::Finish finish[V];
#pragma unroll
  for (int j = 0; j < V; ++j) {
    const Stats<F> all = total[rows.tx * V + j];
    finish[j] = a.f.finish(all.max, all.max, all.sum, row[j]);
    if (rows.valid && rows.ty == 0 && blockIdx.y == 0) a.f.result(rows.r + j, row[j], all.max, all.sum);
  }
  if (a.out) rows.store(x, row, finish, stage == StridedStage::store);
}

}  // namespace bobbin::cuda
