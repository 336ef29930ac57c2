// Functors that keep an element which dominates its row out of the row's sums: next to it, what the others
// add up to would be lost by rounding. Few rows have one, so the sums are made of all elements, and once more
// of the others where one is found.
#pragma once
#include <type_traits>

#include "ops/cuda/rows/packed.cuh"

namespace bobbin::cuda {

/// The base of functors without a maximum that keep an element which dominates a row out of its sums.
struct WithDominant {};
template<class F>
inline constexpr bool has_dominant = std::is_base_of_v<WithDominant, F>;

/// The functor F, with `add_others` in place of `add`.
template<class F>
struct Others : F {
  template<int n, class C, class S, class R>
  __device__ __forceinline__ void add(C (&v)[F::inputs][n], C m, S (&s)[F::sums], const R&,
                                      std::int64_t) const {
    this->add_others(v, m, s);
  }
  template<class V, class C>
  __device__ __forceinline__ void find(V&, C&) const {}
};

/// f.find, of functors that have it.
template<class F, class V, class C>
__device__ __forceinline__ void find_dominant(const F& f, V& v, C& m) {
  if constexpr (has_dominant<F>) f.find(v, m);
}

/// The maximum of two parts of a row; with has_dominant, the sum of those that are not NaN.
template<class F, class C>
__device__ __forceinline__ C merge_max(C a, C b) {
  if constexpr (has_dominant<F>)
    return a != a ? b : b != b ? a : a + b;
  else
    return larger(a, b);
}

/// The merged `max` of `lanes` lanes (`from` as in warp_reduce.cuh) with has_dominant, in the few warps that
/// have one.
template<class F, class C>
__device__ __forceinline__ void merge_dominant(C& max, int lanes, int from = 1) {
  if constexpr (has_dominant<F>)
    if (__any_sync(~0u, max == max))
      for (int w = lanes >> 1; w >= from; w >>= 1) max = merge_max<F>(max, __shfl_xor_sync(~0u, max, w));
}

}  // namespace bobbin::cuda
