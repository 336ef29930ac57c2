// Defines the functors of the row engine, and applies them to packs of elements.
//
// A kernel reads the rows of one or two tensors, reduces each row on the chip, and writes a row of the same
// shape and dtype, one number per row, or both. A functor F says what is computed; kernels get it by value:
//
//   using Storage = T;               f64, f32, bf16 or f16; C below is Compute<T>
//   static constexpr int inputs;     tensors read, 1 or 2, of one shape and dtype
//   static constexpr bool has_max;   whether sums are relative to the maximum of the first input
//   static constexpr int sums;       number of sums per row, at least 1
//   using WideSum;                   optional: the type of sums, in place of C: double, where sums need it
//   static constexpr bool caches;    whether `put` starts from what `add` stored in v[0]; needs C = T
//
//   struct Row; Row row(int64 r) const;
//       Per-row data of row r, loaded early: a target, a weight. Row{} stands for no row.
//   void mask(C (&v)[n], const Row&, int64 column) const;
//       Only with `static constexpr bool masked = true`, and for rows along the last axis: changes n
//       neighbouring elements of the first input after they are loaded, before any other member gets them.
//   void add(C (&v)[inputs][n], C m, C (&s)[sums], const Row&, int64 column) const;
//       (A template over int n.) Adds n neighbouring elements to the sums. m is the maximum of a part of the
//       row that contains them, -infinity if that part is all -infinity (0 without `has_max`). Past the end
//       of the row, where column >= columns, v[0] is -infinity (0 without `has_max`) and v[1] is 0.
//   static constexpr double dominant_above;
//   static constexpr bool infinite_padding;  whether v[0] past the end of the row is -infinity
//   void find(C (&v)[inputs][n], C& m) const;
//   void add_others(C (&v)[inputs][n], C m, C (&s)[sums]) const;
//       Only with a base WithDominant: in some rows an element of the first input, above this number, has to
//       stay out of the sums. m is NaN, or a number that describes such elements. `find` replaces NaN by the
//       number of those among n elements, or adds to it. In the rows for which it did, `add_others` takes the
//       place of `add`, and adds all but those elements.
//   void add_divergent(C (&v)[inputs][n], C m, C (&s)[sums], const Row&, int64 column) const;
//       Optional: the same, for warps whose lanes hold different rows.
//   void rescale(C (&s)[sums], C from, C to) const;
//       Converts sums that are relative to the maximum `from` into sums relative to `to`, which is not
//       smaller. Changes nothing if the two are equal, even if both are infinite. Empty without `has_max`.
//   struct Finish; Finish finish(C own, C max, const C (&s)[sums], const Row&) const;
//       Computes the values that `put` needs from the maximum and the sums of the whole row. `own` is the m
//       that this thread passed to `add`. With WithDominant, max is what `find` set m to, or NaN.
//   void put(C (&v)[inputs][n], const Finish&, const Row&, int64 column) const;
//       (A template over bool cached, int n.) Computes the output in v[0]. cached: v[0] is what `add` stored,
//       else the input. Results past the end of the row are not written.
//   void result(int64 r, const Row&, C max, const C (&s)[sums]) const;
//       One thread per row calls it, to write one number per row, such as a loss.
//
// Rows are numbered row-major over the other axes. All members are __device__; `row` and `result` may read
// and write memory. A functor derived from LastAxisOnly takes only rows along the last axis.
// ops/softmax/softmax_functor.cuh is a good first example.
#pragma once
#include "ops/cuda/rows/algorithm.h"
#include "ops/cuda/rows/dominant.cuh"
#include "ops/cuda/rows/exp.cuh"
#include "ops/cuda/rows/warp_reduce.cuh"

namespace bobbin::cuda {

namespace detail {
template<class F>
struct SumType {
  using type = Compute<typename F::Storage>;
};
template<class F>
requires requires { typename F::WideSum; }
struct SumType<F> {
  using type = typename F::WideSum;
};
}  // namespace detail
template<class F>
using SumOf = typename detail::SumType<F>::type;

/// The operands of a kernel. Rows of an input are `pitch` elements apart. Row r of every operand begins at
/// the same distance from a multiple of 16 bytes.
template<class F>
struct RowArgs {
  using T = typename F::Storage;
  const T* in[F::inputs];
  std::int64_t pitch[F::inputs];
  T* out;  // or null
  std::int64_t rows, columns;
  F f;
  bool early;  // the kernel loads its rows before the previous kernel ends; f.row waits for that (run_rows)
};

/// The maximum and the sums of a row, or of a part of it.
template<class F>
struct Stats {
  using C = Compute<typename F::Storage>;
  C max;  ///< with has_dominant: what F::find set it to; NaN if no element dominates the row
  SumOf<F> sum[F::sums];

  __device__ static Stats none() {
    Stats s{};
    if constexpr (F::has_max) s.max = -infinity<C>();
    if constexpr (has_dominant<F>) s.max = not_a_number<C>();
    return s;
  }
  /// Whether an element dominates the row. (If it is described by NaN, the sums are NaN, too.)
  __device__ bool dominated() const { return has_dominant<F> && max == max; }
};

template<class F>
__device__ __forceinline__ Stats<F> merge(const F& f, Stats<F> a, Stats<F> b) {
  const auto max = merge_max<F>(a.max, b.max);
  f.rescale(a.sum, a.max, max);
  f.rescale(b.sum, b.max, max);
  a.max = max;
#pragma unroll
  for (int i = 0; i < F::sums; ++i) a.sum[i] += b.sum[i];
  return a;
}

/// The merged statistics of `lanes` lanes; `from` as in warp_reduce.cuh. Sums are rescaled once.
template<class F>
__device__ __forceinline__ Stats<F> warp_merge(const F& f, Stats<F> s, int lanes, int from = 1) {
  if constexpr (F::has_max) {
    const auto max = warp_max(s.max, lanes, from);
    f.rescale(s.sum, s.max, max);
    s.max = max;
  }
  merge_dominant<F>(s.max, lanes, from);
#pragma unroll
  for (int i = 0; i < F::sums; ++i) s.sum[i] = warp_sum_in_double(s.sum[i], lanes, from);
  return s;
}

/// Whether the elements of an input past the end of a row are -infinity.
template<class F>
constexpr bool is_padding_infinite(int input) {
  if constexpr (has_dominant<F>)
    return F::infinite_padding && input == 0;
  else
    return F::has_max && input == 0;
}
/// The elements that `add` gets past the end of a row.
template<class F>
__device__ __forceinline__ uint4 padding(int input) {
  return padding_pack<typename F::Storage>(is_padding_infinite<F>(input));
}
template<class F>
__device__ __forceinline__ Compute<typename F::Storage> padding_element(int input) {
  using C = Compute<typename F::Storage>;
  return is_padding_infinite<F>(input) ? -infinity<C>() : C(0);
}

/// Whether F has a mask.
template<class F>
inline constexpr bool is_masked = requires {
  requires F::masked;
};

/// The base of functors that take only rows along the last axis: the other kernels are not compiled for them.
struct LastAxisOnly {};
template<class F>
inline constexpr bool is_last_axis = is_masked<F> || std::is_base_of_v<LastAxisOnly, F>;

/// Masks a pack of the first input, or one element of it.
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

/// The maximum of the packs x[i][0] of the first input; 0 without has_max.
template<class F, int P>
__device__ __forceinline__ Compute<typename F::Storage> max_of(const uint4 (&x)[P][F::inputs]) {
  using T = typename F::Storage;
  if constexpr (!F::has_max) return 0;
  uint4 m = x[0][0];
#pragma unroll
  for (int i = 1; i < P; ++i) m = larger_pack<T>(m, x[i][0]);
  return largest<T>(m);
}

/// Calls f(i) for i < P while i * step < end, and for i = 0. The loop without tests, for where all are below
/// the end, lets the compiler mix the steps of several i.
template<int P, class Each>
__device__ __forceinline__ void each_pack(int end, int step, const Each& f) {
  if ((P - 1) * step < end) {
#pragma unroll
    for (int i = 0; i < P; ++i) f(i);
  } else {
#pragma unroll
    for (int i = 0; i < P; ++i) {
      if (i > 0 && i * step >= end) break;
      f(i);
    }
  }
}

/// Adds a pack of each input to the sums. `divergent`: the lanes of this warp hold different rows.
template<bool divergent = false, class F, class C, class S, class R>
__device__ __forceinline__ void add_pack(const F& f, uint4 (&x)[F::inputs], C m, S (&s)[F::sums],
                                         const R& row, std::int64_t column) {
  using T = typename F::Storage;
  C v[F::inputs][per_pack<T>];
#pragma unroll
  for (int k = 0; k < F::inputs; ++k) unpack<T>(x[k], v[k]);
  if constexpr (divergent && requires { f.add_divergent(v, m, s, row, column); })
    f.add_divergent(v, m, s, row, column);
  else
    f.add(v, m, s, row, column);
  if constexpr (F::caches) x[0] = pack<T>(v[0]);
}

/// f.find for a pack of each input.
template<class F, class C>
__device__ __forceinline__ void find_in_pack(const F& f, const uint4 (&x)[F::inputs], C& m) {
  using T = typename F::Storage;
  C v[F::inputs][per_pack<T>];
#pragma unroll
  for (int k = 0; k < F::inputs; ++k) unpack<T>(x[k], v[k]);
  find_dominant(f, v, m);
}

/// Stops the compiler from keeping unpacked elements in registers until a later use.
template<int n>
__device__ __forceinline__ void keep_packed(uint4 (&x)[n]) {
#pragma unroll
  for (int k = 0; k < n; ++k) ptx::opaque(x[k]);
}

/// The pack of the output for a pack of each input.
template<bool cached, class F, class Finish, class R>
__device__ __forceinline__ uint4 put_pack(const F& f, const uint4 (&x)[F::inputs], const Finish& finish,
                                          const R& row, std::int64_t column) {
  using T = typename F::Storage;
  Compute<T> v[F::inputs][per_pack<T>];
#pragma unroll
  for (int k = 0; k < F::inputs; ++k) unpack<T>(x[k], v[k]);
  f.template put<cached>(v, finish, row, column);
  return pack<T>(v[0]);
}

/// How a row divides into packs that begin at multiples of 16 bytes, and the few edge elements before and
/// after them.
template<class T>
struct RowSpan {
  int head;  ///< elements before the first pack
  int packs;
  int edges;  ///< elements before and after the packs: 0 where a row is a multiple of 16 bytes
  int shift;  ///< packs between a multiple of 128 bytes (from the start of the tensor) and the first pack

  __device__ RowSpan(std::int64_t r, std::int64_t columns) {
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
