// The row engine: kernels that read the rows of one or two tensors once, reduce each row on the chip, and
// write a row of the same shape and dtype (if there is where to), one number, or both. What is done with a
// row is a functor F, passed to kernels by value:
//
//   using Storage = T;              f64, f32, bf16 or f16; C below is Compute<T>
//   static constexpr int inputs;    tensors read, 1 or 2, of one shape and dtype
//   static constexpr bool peak;     whether sums are relative to the maximum of the first input
//   static constexpr int sums;      how many sums a row has, at least 1
//   static constexpr bool keeps;    whether `put` starts from what `add` left in v[0]: only where C is T
//
//   struct Row; Row row(int64 r) const;
//       What the functor wants to know of row r, loaded early: a target, a weight. Row{} stands for no row.
//   void mask(C (&v)[n], const Row&, int64 column) const;
//       With a `static constexpr bool masked = true` alone, and rows along the last axis: changes elements of
//       the first input as they are read, n neighbouring ones, before all else sees them.
//   void add(C (&v)[inputs][n], C m, C (&s)[sums], const Row&, int64 column) const;
//       (A template over int n.) Adds n neighbouring elements to the sums. m is the maximum of some part of
//       the row that holds them, -infinity if that part is all -infinity (0 without `peak`). Past the row's
//       end, column >= columns, it sees v[0] = -infinity (0 without `peak`) and v[1] = 0.
//   void add_apart(C (&v)[inputs][n], C m, C (&s)[sums], const Row&, int64 column) const;
//       If there is one: the same, for warps whose lanes hold several rows.
//   void rescale(C (&s)[sums], C from, C to) const;
//       Sums relative to `from` become relative to `to` >= from. Where they are equal (both may be infinite)
//       nothing happens, exactly. Empty without `peak`.
//   struct Finish; Finish finish(C own, C max, const C (&s)[sums], const Row&) const;
//       What `put` needs, from the whole row's maximum and sums; `own` is the m that `add` had here.
//   void put(C (&v)[inputs][n], const Finish&, const Row&, int64 column) const;
//       (A template over bool kept, int n.) Leaves the output in v[0]. kept: v[0] is what `add` left there,
//       else the input. Its results past the row's end go nowhere.
//   void result(int64 r, const Row&, C max, const C (&s)[sums]) const;
//       Called by one thread a row: for a number a row, such as a loss.
//
// Rows are numbered row-major over the other axes. All members are __device__; `row` and `result` may read
// and write memory. ops/softmax/cuda.cu holds the shortest examples; row_run.cuh launches.
#pragma once
#include "ops/cuda/rows/algorithm.h"
#include "ops/cuda/rows/exp.cuh"

namespace bobbin::cuda {

/// Rows `pitch` elements apart; every operand's rows begin in the same phase of 16 bytes as the output's.
template<class F>
struct RowArgs {
  using T = typename F::Storage;
  const T* in[F::inputs];
  std::int64_t pitch[F::inputs];
  T* out;  // or null
  std::int64_t rows, columns;
  F f;
  bool early;  // only f.row wants what the kernel before leaves, and awaits it
};

/// A row's maximum and sums, or those of a part of it.
template<class F>
struct Stats {
  using C = Compute<typename F::Storage>;
  C max;
  C sum[F::sums];

  __device__ static Stats none() {
    Stats s{};
    if constexpr (F::peak) s.max = -infinity<C>();
    return s;
  }
};

template<class F>
__device__ __forceinline__ Stats<F> merge(const F& f, Stats<F> a, Stats<F> b) {
  const auto max = larger(a.max, b.max);
  f.rescale(a.sum, a.max, max);
  f.rescale(b.sum, b.max, max);
  a.max = max;
#pragma unroll
  for (int i = 0; i < F::sums; ++i) a.sum[i] += b.sum[i];
  return a;
}

// Over the lanes whose numbers differ in the bits below `lanes` (a power of two) and not below `from`; all of
// them get the same bits.
template<class C>
__device__ __forceinline__ C lanes_max(C v, int lanes, int from = 1) {
  for (int w = lanes >> 1; w >= from; w >>= 1) v = larger(v, __shfl_xor_sync(~0u, v, w));
  return v;
}
template<class C>
__device__ __forceinline__ C lanes_sum(C v, int lanes, int from = 1) {
  for (int w = lanes >> 1; w >= from; w >>= 1) v += __shfl_xor_sync(~0u, v, w);
  return v;
}
/// Of several sums, side by side.
template<class C, int n>
__device__ __forceinline__ void lanes_sums(C (&v)[n], int lanes) {
  for (int w = lanes >> 1; w > 0; w >>= 1)
#pragma unroll
    for (int i = 0; i < n; ++i) v[i] += __shfl_xor_sync(~0u, v[i], w);
}
/// The same in double: for the sums of long rows.
template<class C>
__device__ __forceinline__ C lanes_sum_closely(C v, int lanes, int from = 1) {
  return static_cast<C>(lanes_sum(static_cast<double>(v), lanes, from));
}
/// Merges what each lane has; rescales once.
template<class F>
__device__ __forceinline__ Stats<F> lanes_merge(const F& f, Stats<F> s, int lanes, int from = 1) {
  if constexpr (F::peak) {
    const auto max = lanes_max(s.max, lanes, from);
    f.rescale(s.sum, s.max, max);
    s.max = max;
  }
#pragma unroll
  for (int i = 0; i < F::sums; ++i) s.sum[i] = lanes_sum_closely(s.sum[i], lanes, from);
  return s;
}

template<class F>
__device__ __forceinline__ uint4 blank(int input) {
  return blank_pack<typename F::Storage>(F::peak && input == 0);
}
template<class F>
__device__ __forceinline__ Compute<typename F::Storage> blank_element(int input) {
  using C = Compute<typename F::Storage>;
  return F::peak && input == 0 ? -infinity<C>() : C(0);
}

/// The sum of what a thread has, in a tree, which leaves the elements changed.
template<class C, int n>
__device__ __forceinline__ C sum_of(C (&v)[n]) {
#pragma unroll
  for (int width = n / 2; width > 0; width /= 2)
#pragma unroll
    for (int i = 0; i < width; ++i) v[i] += v[i + width];
  return v[0];
}

/// Whether F sees its elements through a mask.
template<class F>
inline constexpr bool is_masked = requires {
  requires F::masked;
};

/// What F's mask makes of a pack of the first input, or of an element of it.
template<class F, class R>
__device__ __forceinline__ void mask_pack(const F& f, uint4& x, const R& row, std::int64_t column) {
  if constexpr (is_masked<F>) {
    using T = typename F::Storage;
    Compute<T> v[per_pack<T>];
    unpack<T>(x, v);
    f.mask(v, row, column);
    x = pack<T>(v);
  }
}
template<class F, class C, class R>
__device__ __forceinline__ void mask_element(const F& f, C (&x)[1], const R& row, std::int64_t column) {
  if constexpr (is_masked<F>) f.mask(x, row, column);
}

/// Packs that one thread holds of a row: x[i][k] of input k.
template<class F, int P>
__device__ __forceinline__ Compute<typename F::Storage> peak(const uint4 (&x)[P][F::inputs]) {
  using T = typename F::Storage;
  if constexpr (!F::peak) return 0;
  uint4 m = x[0][0];
#pragma unroll
  for (int i = 1; i < P; ++i) m = larger_pack<T>(m, x[i][0]);
  return largest<T>(m);
}

/// `apart`: the lanes of this warp hold several rows.
template<bool apart = false, class F, class S, class R>
__device__ __forceinline__ void add_pack(const F& f, uint4 (&x)[F::inputs], S m, S (&s)[F::sums],
                                         const R& row, std::int64_t column) {
  using T = typename F::Storage;
  S v[F::inputs][per_pack<T>];
#pragma unroll
  for (int k = 0; k < F::inputs; ++k) unpack<T>(x[k], v[k]);
  if constexpr (apart && requires { f.add_apart(v, m, s, row, column); })
    f.add_apart(v, m, s, row, column);
  else
    f.add(v, m, s, row, column);
  if constexpr (F::keeps) x[0] = pack<T>(v[0]);
}

/// Keeps the compiler from carrying widened elements over to a later use.
template<int n>
__device__ __forceinline__ void keep_packed(uint4 (&x)[n]) {
#pragma unroll
  for (int k = 0; k < n; ++k) ptx::opaque(x[k]);
}

template<bool kept, class F, class Finish, class R>
__device__ __forceinline__ uint4 put_pack(const F& f, const uint4 (&x)[F::inputs], const Finish& finish,
                                          const R& row, std::int64_t column) {
  using T = typename F::Storage;
  Compute<T> v[F::inputs][per_pack<T>];
#pragma unroll
  for (int k = 0; k < F::inputs; ++k) unpack<T>(x[k], v[k]);
  f.template put<kept>(v, finish, row, column);
  return pack<T>(v[0]);
}

/// A row as 16-byte packs that begin at a multiple of 16 bytes, `head` elements from the row's start, and the
/// few elements beside them, `edges` in all: 0 where rows are a multiple of 16 bytes.
template<class T>
struct Span {
  int head, packs, edges;
  int shift;  ///< packs from a multiple of 128 bytes to the first pack, counted from the tensor's start
              ///< start is one

  __device__ Span(std::int64_t r, std::int64_t columns) {
    constexpr unsigned n = per_pack<T>;
    const unsigned phase = static_cast<unsigned>(r) * static_cast<unsigned>(columns);
    head = static_cast<int>((0u - phase) & (n - 1));
    if (head > columns) head = static_cast<int>(columns);
    packs = static_cast<int>((columns - head) / n);
    edges = static_cast<int>(columns - static_cast<std::int64_t>(packs) * n);
    shift = static_cast<int>((phase + static_cast<unsigned>(head)) / n % aligned_packs);
  }
  /// The column of edge element e.
  __device__ std::int64_t edge(int e) const {
    return e < head ? e : e + static_cast<std::int64_t>(packs) * per_pack<T>;
  }
};

}  // namespace bobbin::cuda
