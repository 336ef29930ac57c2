// The derivatives of softmax and log-softmax on a GPU, through the row engine. The inputs are O and dO.
#include "ops/cuda/rows/run.cuh"
#include "ops/softmax/softmax.h"

namespace bobbin {
namespace {

using cuda::Compute;

/// The members that both functors share: one sum, no maximum. c is the dO of the element that dominates the
/// row, NaN without one.
template<class T>
struct Backward : cuda::WithDominant {
  using Storage = T;
  using C = Compute<T>;
  static constexpr int inputs = 2, sums = 1;
  static constexpr bool has_max = false, caches = false;
  struct Row {};
  struct Finish {
    C c, sum;  // c: 0 without a dominant element
  };
  __device__ Row row(std::int64_t) const { return {}; }
  __device__ void rescale(C (&)[1], C, C) const {}
  __device__ Finish finish(C, C c, const C (&s)[1], const Row&) const { return {c == c ? c : C(0), s[0]}; }
  __device__ void result(std::int64_t, const Row&, C, const C (&)[1]) const {}
};

/// O (dO - sum(O dO)). Next to a dominant element the sum of the others is small, and the difference would be
/// rounding: O ((dO - c) - sum(O (dO - c)) over the others).
template<class T>
struct SoftmaxBackwardRow : Backward<T> {
  using typename Backward<T>::C;
  using typename Backward<T>::Row;
  using typename Backward<T>::Finish;
  static constexpr double dominant_above = dominant_probability;
  static constexpr bool infinite_padding = false;
  static __device__ bool dominates(C o) { return o > C(dominant_above); }
  template<int n>
  __device__ void add(C (&v)[2][n], C, C (&s)[1], const Row&, std::int64_t) const {
#pragma unroll
    for (int i = 0; i < n; ++i) s[0] += v[0][i] * v[1][i];
  }
  template<int n>
  __device__ void find(C (&v)[2][n], C& c) const {
#pragma unroll
    for (int i = 0; i < n; ++i)
      if (dominates(v[0][i])) c = c == c ? c + v[1][i] : v[1][i];
  }
  template<int n>
  __device__ void add_others(C (&v)[2][n], C c, C (&s)[1]) const {
#pragma unroll
    for (int i = 0; i < n; ++i)
      if (!dominates(v[0][i])) s[0] += v[0][i] * (v[1][i] - c);
  }
  template<bool, int n>
  __device__ void put(C (&v)[2][n], const Finish& f, const Row&, std::int64_t) const {
#pragma unroll
    for (int i = 0; i < n; ++i) v[0][i] *= (v[1][i] - f.c) - f.sum;
  }
};

/// dO - exp(O) sum(dO), or -expm1(O) dO - exp(O) (the sum of the other dO) where exp(O) dominates the row:
/// the sum is then of the others. O above 0.28, which is no log-softmax, is not dominant, so that a
/// polynomial will do for expm1.
template<class T>
struct LogSoftmaxBackwardRow : Backward<T> {
  using typename Backward<T>::C;
  using typename Backward<T>::Row;
  using typename Backward<T>::Finish;
  static constexpr double dominant_above = -0.28768207245178092744;  // log(3/4)
  static constexpr bool infinite_padding = true;
  static __device__ bool dominates(C o) { return fabs(o) < C(-dominant_above); }
  template<int n>
  __device__ void add(C (&v)[2][n], C, C (&s)[1], const Row&, std::int64_t) const {
#pragma unroll
    for (int i = 0; i < n; ++i) s[0] += v[1][i];
  }
  template<int n>
  __device__ void find(C (&v)[2][n], C& c) const {
#pragma unroll
    for (int i = 0; i < n; ++i)
      if (dominates(v[0][i])) c = c == c ? c + v[1][i] : v[1][i];
  }
  template<int n>
  __device__ void add_others(C (&v)[2][n], C, C (&s)[1]) const {
#pragma unroll
    for (int i = 0; i < n; ++i)
      if (!dominates(v[0][i])) s[0] += v[1][i];
  }
  template<bool, int n>
  __device__ void put(C (&v)[2][n], const Finish& f, const Row&, std::int64_t) const {
    bool any = false;
#pragma unroll
    for (int i = 0; i < n; ++i) any |= dominates(v[0][i]);
    if (any) {  // few rows, and one element of each
#pragma unroll
      for (int i = 0; i < n; ++i) {
        const C o = v[0][i], g = v[1][i], p = cuda::exp_of<T>(o);
        v[0][i] = dominates(o) ? -cuda::expm1_small(o) * g - p * (f.sum + (f.c - g)) : g - p * (f.sum + f.c);
      }
    } else {
#pragma unroll
      for (int i = 0; i < n; ++i) v[0][i] = v[1][i] - cuda::exp_of<T>(v[0][i]) * (f.sum + f.c);
    }
  }
};

}  // namespace

void SoftmaxBackward::cuda(Inputs x, Tensor& y) const {
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    cuda::run_rows(name, cuda::RowOperands(x, y, axis), SoftmaxBackwardRow<T>{});
  });
}

void LogSoftmaxBackward::cuda(Inputs x, Tensor& y) const {
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    cuda::run_rows(name, cuda::RowOperands(x, y, axis), LogSoftmaxBackwardRow<T>{});
  });
}

}  // namespace bobbin
