// What the row engine does with a row that softmax is taken of.
#pragma once
#include "ops/cuda/rows/run.cuh"

namespace bobbin::cuda {

/// What both forward operations share: a maximum.
template<class T, int n_sums>
struct SoftmaxForward {
  using Storage = T;
  using C = Compute<T>;
  static constexpr int inputs = 1, sums = n_sums;
  static constexpr bool peak = true;
  struct Row {};
  __device__ Row row(std::int64_t) const { return {}; }
  __device__ void result(std::int64_t, const Row&, C, const C (&)[sums]) const {}

  // What is subtracted in a part of a row whose maximum is m: its exponentials are 0 if all of it is -inf.
  static __device__ C shift(C m) { return m == -infinity<C>() ? C(0) : m; }
};

template<class T>
struct SoftmaxRow : SoftmaxForward<T, 1> {
  using typename SoftmaxForward<T, 1>::C;
  using typename SoftmaxForward<T, 1>::Row;
  static constexpr bool keeps = std::is_same_v<C, T>;  // exponentials
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
      if constexpr (keeps) v[0][i] = e[i];
    }
    s[0] += sum_of(e);
  }
  __device__ void rescale(C (&s)[1], C from, C to) const {
    if (from != to) s[0] *= exp_between<T>(from, to);
  }
  __device__ Finish finish(C own, C max, const C (&s)[1], const Row&) const {
    if constexpr (keeps)
      return {max, exp_between<T>(own, max) / s[0]};
    else
      return {max, 1 / s[0]};
  }
  template<bool kept, int n>
  __device__ void put(C (&v)[1][n], const Finish& f, const Row&, std::int64_t) const {
#pragma unroll
    for (int i = 0; i < n; ++i) v[0][i] = (kept ? v[0][i] : exp_minus<T>(v[0][i], f.max)) * f.scale;
  }
};

}  // namespace bobbin::cuda
