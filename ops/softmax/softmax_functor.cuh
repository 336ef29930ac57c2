// The functor of softmax for the row engine; masked softmax and log-softmax build on it.
#pragma once
#include "ops/cuda/rows/run.cuh"

namespace bobbin::cuda {

/// The members that the forward operations share: one input and its maximum.
template<class T, int n_sums>
struct SoftmaxForward {
  using Storage = T;
  using C = Compute<T>;
  static constexpr int inputs = 1, sums = n_sums;
  static constexpr bool has_max = true;
  struct Row {};
  __device__ Row row(std::int64_t) const { return {}; }
  __device__ void result(std::int64_t, const Row&, C, const C (&)[sums]) const {}

  // The number to subtract in a part of a row with maximum m. If all of the part is -inf, its exponentials
  // are 0.
  static __device__ C shift(C m) { return m == -infinity<C>() ? C(0) : m; }
};

/// exp(x - max) / sum(exp(x - max))
template<class T>
struct SoftmaxRow : SoftmaxForward<T, 1> {
  using typename SoftmaxForward<T, 1>::C;
  using typename SoftmaxForward<T, 1>::Row;
  static constexpr bool caches = std::is_same_v<C, T>;  // the exponentials
  struct Finish {
    C max, scale;
  };
  template<int n>
  __device__ void add(C (&v)[1][n], C m, C (&s)[1], const Row&, std::int64_t) const {
    const C shift = this->shift(m);
    C e[n];
#pragma unroll
    for (int i = 0; i < n; ++i) {
      e[i] = exp_minus<T>(v[0][i], shift);
      if constexpr (caches) v[0][i] = e[i];
    }
    s[0] += sum_of(e);
  }
  __device__ void rescale(C (&s)[1], C from, C to) const {
    if (from != to) s[0] *= exp_between<T>(from, to);
  }
  __device__ Finish finish(C own, C max, const C (&s)[1], const Row&) const {
    if constexpr (caches)
      return {max, exp_between<T>(own, max) / s[0]};
    else
      return {max, 1 / s[0]};
  }
  template<bool cached, int n>
  __device__ void put(C (&v)[1][n], const Finish& f, const Row&, std::int64_t) const {
#pragma unroll
    for (int i = 0; i < n; ++i) v[0][i] = (cached ? v[0][i] : exp_minus<T>(v[0][i], f.max)) * f.scale;
  }
};

}  // namespace bobbin::cuda
