// Algorithm::warp, for short rows: 1 to 32 lanes of a warp hold a row in registers, so a warp holds 32 rows
// to 1 row.
#pragma once
#include "core/cuda/strided.cuh"
#include "ops/cuda/rows/functor.cuh"

namespace bobbin::cuda {

/// The logarithm of a power of two.
__device__ __forceinline__ int log2_of(int n) { return __ffs(n) - 1; }

/// The part of a row that one thread of warp_rows holds, and the steps on it: P packs, which are `lanes`
/// apart, and one edge element if rows have edge elements.
template<class F, int P, bool coalesced>
struct WarpRows {
  using T = typename F::Storage;
  using C = Compute<T>;
  using Row = typename F::Row;
  static constexpr int n = F::inputs;

  const RowArgs<F>& a;
  const int lanes;  ///< of a row
  const Divider& by_packs;
  const int warp_lane = static_cast<int>(threadIdx.x) % 32, lane = warp_lane & (lanes - 1);
  const int lane_bits = log2_of(lanes), rows_per_warp = 32 >> lane_bits, row_in_warp = warp_lane >> lane_bits;
  const std::int64_t warp = (blockIdx.x * static_cast<std::int64_t>(blockDim.x) + threadIdx.x) / 32;
  const std::int64_t first = warp * rows_per_warp,
                     r = first + row_in_warp;  ///< first row of the warp; this row
  const bool valid = r < a.rows;
  const bool has_edges = !coalesced && a.columns % per_pack<T> != 0;
  const RowSpan<T> span{r, a.columns};
  /// The packs of a row, and the packs of shared memory between rows and between inputs.
  const int packs = static_cast<int>(by_packs.d), pitch = shared_pitch(packs, lanes);
  const int input_pitch = coalesced ? rows_per_warp * pitch : P * warp_block_threads;
  /// Where the packs of the warp, and of this thread, begin.
  uint4* const warp_shared = shared_packs() + (coalesced ? threadIdx.x / 32 * n * input_pitch : threadIdx.x);
  uint4* const own_shared = warp_shared + (coalesced ? row_in_warp * pitch + lane : 0);

  __device__ __forceinline__ int column(int i) const { return span.head + (lane + i * lanes) * per_pack<T>; }
  /// Calls f(i) for the packs i of a lane.
  template<class Each>
  __device__ __forceinline__ void each(const Each& f) const {
    each_pack<P>(packs, lanes, f);
  }
  __device__ __forceinline__ bool has(int i) const { return valid && lane + i * lanes < span.packs; }
  // Pack i of input k in shared memory.
  __device__ __forceinline__ uint4* in_shared(int i, int k) const {
    return own_shared + i * (coalesced ? lanes : warp_block_threads) + k * input_pitch;
  }
  // Calls f(elements, row, shared) for the packs of the warp's rows that this lane copies: their distance in
  // elements from its first one, their row, and their address in shared memory.
  template<class Copy>
  __device__ __forceinline__ void each_warp_pack(const Copy& f) const {
    const int left =
        static_cast<int>(smaller(a.rows - first, std::int64_t{rows_per_warp})) * packs - warp_lane;
    uint4* const shared = warp_shared + warp_lane;
#pragma unroll
    for (int m = 0; m < P * 32; m += 32)
      if (m < left) {
        const int row = static_cast<int>(by_packs(static_cast<unsigned>(m + warp_lane)));
        f(m * per_pack<T>, row, shared + m + row * (pitch - packs));
      }
  }

  __device__ __forceinline__ Row row() const { return valid ? a.f.row(r) : Row{}; }

  /// Loads the packs of this lane into x, or starts their copy to shared memory. Loads its edge elements.
  __device__ __forceinline__ void load(uint4 (&x)[P][n], T (&edge)[n], bool staged) const {
#pragma unroll
    for (int k = 0; k < n; ++k) {
      const T* const from = a.in[k] + r * a.pitch[k];
      each([&](int i) {
        if (!staged)
          x[i][k] = load_pack(from + column(i), has(i), padding<F>(k));
        else if (has(i))
          copy_pack(in_shared(i, k), from + column(i));
      });
      if (has_edges && valid && lane < span.edges) edge[k] = from[span.edge(lane)];
    }
  }

  /// Starts the copy of all packs of the warp's rows to shared memory.
  __device__ __forceinline__ void start_warp_copy() const {
    const T* from[n];
    std::int64_t gap[n];
#pragma unroll
    for (int k = 0; k < n; ++k) {
      from[k] = a.in[k] + first * a.pitch[k] + warp_lane * per_pack<T>;
      ptx::opaque(from[k]);  // or the compiler computes the whole address again for each pack
      gap[k] = a.pitch[k] - a.columns;
    }
    each_warp_pack([&](int elements, int row, uint4* to) {
#pragma unroll
      for (int k = 0; k < n; ++k) copy_pack(to + k * input_pitch, from[k] + elements + row * gap[k]);
    });
  }

  /// Waits for the copies, and reads the packs of this lane from shared memory.
  __device__ __forceinline__ void read_shared(uint4 (&x)[P][n]) const {
    await_copies();
    if (coalesced) __syncwarp();
    each([&](int i) {
#pragma unroll
      for (int k = 0; k < n; ++k) x[i][k] = has(i) ? *in_shared(i, k) : padding<F>(k);
    });
  }

  __device__ __forceinline__ void mask(uint4 (&x)[P][n], const Row& row) const {
    if constexpr (is_masked<F>)
      each([&](int i) {
        if (has(i)) mask_pack(a.f, x[i][0], row, column(i));
      });
  }

  __device__ __forceinline__ bool has_edge() const { return has_edges && valid && lane < span.edges; }

  /// The maximum and the sums of the row, in all of its lanes.
  __device__ __forceinline__ Stats<F> reduce(uint4 (&x)[P][n], const T (&edge)[n], C (&edge_value)[n][1],
                                             bool edge_valid, const Row& row, bool staged) const {
    Stats<F> own = Stats<F>::none();
    C most = 0;  // of the lane
    if constexpr (F::has_max || has_dominant<F>) {
      uint4 m = x[0][0];
      each([&](int i) { m = larger_pack<T>(m, x[i][0]); });
      most = largest<T>(m);
    }
    if constexpr (!coalesced) {
#pragma unroll
      for (int k = 0; k < n; ++k) edge_value[k][0] = edge_valid ? widen<T>(edge[k]) : padding_element<F>(k);
      if (edge_valid) mask_element(a.f, edge_value[0], row, span.edge(lane));
      most = larger(most, edge_value[0][0]);
    }
    if constexpr (F::has_max) own.max = warp_max(most, lanes);

    each([&](int i) {
      add_pack<coalesced>(a.f, x[i], own.max, own.sum, row,
                          lane + i * lanes < span.packs ? column(i) : a.columns);
    });
    if (has_edges) a.f.add(edge_value, own.max, own.sum, row, edge_valid ? span.edge(lane) : a.columns);
    warp_sums(own.sum, lanes);
    if constexpr (has_dominant<F>)
      if (__any_sync(~0u, most > C(F::dominant_above))) add_others(edge_value, own, row, staged);
    return own;
  }

  /// Finds the elements that dominate rows, and replaces the sums of these rows. Reads the packs again,
  /// because the code for these few rows would else need more registers than all others.
  __device__ __forceinline__ void add_others(C (&edge_value)[n][1], Stats<F>& own, const Row& row,
                                             bool staged) const {
    const auto read = [&](int i, uint4(&x)[n]) {
#pragma unroll
      for (int k = 0; k < n; ++k)
        if (coalesced || staged)
          x[k] = has(i) ? *in_shared(i, k) : padding<F>(k);
        else
          x[k] = load_pack(a.in[k] + r * a.pitch[k] + column(i), has(i), padding<F>(k));
    };
    uint4 x[n];
#pragma unroll 1
    for (int i = 0; i * lanes < packs; ++i) {
      read(i, x);
      find_in_pack(a.f, x, own.max);
    }
    if (has_edges) a.f.find(edge_value, own.max);
    merge_dominant<F>(own.max, lanes);
    Stats<F> others = Stats<F>::none();
#pragma unroll 1
    for (int i = 0; i * lanes < packs; ++i) {
      read(i, x);
      add_pack(Others<F>{a.f}, x, own.max, others.sum, row, 0);
    }
    if (has_edges) a.f.add_others(edge_value, own.max, others.sum);
    warp_sums(others.sum, lanes);
    if (own.dominated())
#pragma unroll
      for (int i = 0; i < F::sums; ++i) own.sum[i] = others.sum[i];
  }

  /// Writes the outputs of this lane: to memory, or to shared memory for finish_warp_copy.
  __device__ __forceinline__ void store(uint4 (&x)[P][n], C (&edge_value)[n][1], bool edge_valid,
                                        const typename F::Finish& finish, const Row& row) const {
    T* const to = a.out + r * a.columns;
    each([&](int i) {
      keep_packed(x[i]);
      const uint4 y = put_pack<F::caches>(a.f, x[i], finish, row, column(i));
      if (!coalesced)
        store_pack(to + column(i), y, has(i));
      else if (has(i))
        *in_shared(i, 0) = y;
    });
    if (has_edges && edge_valid) {
      a.f.template put<F::caches>(edge_value, finish, row, span.edge(lane));
      to[span.edge(lane)] = narrow<T>(edge_value[0][0]);
    }
  }

  /// Copies all packs of the warp's rows from shared memory to the output.
  __device__ __forceinline__ void finish_warp_copy() const {
    __syncwarp();
    T* to = a.out + first * a.columns + warp_lane * per_pack<T>;
    ptx::opaque(to);
    each_warp_pack([&](int elements, int, const uint4* y) { store_pack(to + elements, *y); });
  }
};

/// `lanes` is a power of two, and at least the number of edge elements. `staged`: loads go through shared
/// memory, so that more of them are in flight; for few rows that only adds latency. `coalesced`, if the lanes
/// of a row are too few to access 128 bytes at a time: a warp copies the packs of all its rows together
/// between global and shared memory, and each lane accesses its packs in shared memory.
template<class F, int P, bool coalesced>
__global__ void __launch_bounds__(warp_block_threads)
    warp_rows(const RowArgs<F> a, const int lanes, const bool staged, const Divider by_packs) {
  using T = typename F::Storage;
  constexpr int n = F::inputs;
  const WarpRows<F, P, coalesced> w{a, lanes, by_packs};
  if (!a.early) await_previous();
  uint4 x[P][n];
  T edge[n];
  if constexpr (coalesced)
    w.start_warp_copy();
  else
    w.load(x, edge, staged);
  const typename F::Row row = w.row();
  if (coalesced || staged) w.read_shared(x);
  w.mask(x, row);
  Compute<T> edge_value[n][1];
  const bool edge_valid = w.has_edge();
  const Stats<F> own = w.reduce(x, edge, edge_value, edge_valid, row, staged);
  if (w.valid) {
    const auto finish = a.f.finish(own.max, own.max, own.sum, row);
    if (a.out) w.store(x, edge_value, edge_valid, finish, row);
    if (w.lane == 0) a.f.result(w.r, row, own.max, own.sum);
  }
  if (coalesced && a.out) w.finish_warp_copy();
}

}  // namespace bobbin::cuda
