// The derivatives of softmax and log-softmax on a GPU, through the row engine. The inputs are O and dO.
#include "ops/cuda/rows/run.cuh"
#include "ops/softmax/softmax.h"

namespace bobbin {
namespace {

using cuda::Compute;

/// The members that both functors share: sums without a maximum.
template<class T, int n_sums>
struct Backward {
  using Storage = T;
  using C = Compute<T>;
  static constexpr int inputs = 2, sums = n_sums, costly_sums = 1;  // without exponentials
  static constexpr bool has_max = false, caches = false;
  struct Row {};
  __device__ Row row(std::int64_t) const { return {}; }
  __device__ void rescale(C (&)[sums], C, C) const {}
  __device__ void result(std::int64_t, const Row&, C, const C (&)[sums]) const {}
};

/// O ((dO - c) - rest), where c is the dO of the element that dominates the row and rest the sum of O (dO -
/// c) over the others; without such an element, O (dO - sum(O dO)). The sums, over the others, are of O dO
/// and O.
template<class T>
struct SoftmaxBackwardRow : Backward<T, 3> {
  using typename Backward<T, 3>::C;
  using typename Backward<T, 3>::Row;
  struct Finish {
    C c, rest;
  };
  template<int n>
  __device__ void add(C (&v)[2][n], C, C (&s)[3], const Row&, std::int64_t) const {
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const bool dominant = v[0][i] > C(dominant_probability);
      const C o = dominant ? C(0) : v[0][i];
      s[0] += o * v[1][i];
      s[1] += o;
      if (dominant) s[2] += v[1][i];
    }
  }
  __device__ Finish finish(C, C, const C (&s)[3], const Row&) const { return {s[2], s[0] - s[2] * s[1]}; }
  template<bool, int n>
  __device__ void put(C (&v)[2][n], const Finish& f, const Row&, std::int64_t) const {
#pragma unroll
    for (int i = 0; i < n; ++i) v[0][i] *= (v[1][i] - f.c) - f.rest;
  }
};

/// dO - exp(O) sum(dO), or -expm1(O) dO - exp(O) (the sum of the other dO) where exp(O) dominates the row.
/// The sums are of the dO of the other elements and of the dominant one. O above 0.28, which is no
/// log-softmax, is not dominant, so that a polynomial will do for expm1.
template<class T>
struct LogSoftmaxBackwardRow : Backward<T, 2> {
  using typename Backward<T, 2>::C;
  using typename Backward<T, 2>::Row;
  struct Finish {
    C rest, c;
  };
  static __device__ bool dominates(C o) { return fabs(o) < C(0.28768207245178092744); }  // -log(3/4)
  template<int n>
  __device__ void add(C (&v)[2][n], C, C (&s)[2], const Row&, std::int64_t) const {
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const bool dominant = dominates(v[0][i]);
      s[0] += dominant ? C(0) : v[1][i];
      if (dominant) s[1] += v[1][i];
    }
  }
  __device__ Finish finish(C, C, const C (&s)[2], const Row&) const { return {s[0], s[1]}; }
  template<bool, int n>
  __device__ void put(C (&v)[2][n], const Finish& f, const Row&, std::int64_t) const {
    bool any = false;
#pragma unroll
    for (int i = 0; i < n; ++i) any |= dominates(v[0][i]);
    if (any) {  // few rows, and one element of each
#pragma unroll
      for (int i = 0; i < n; ++i) {
        const C o = v[0][i], g = v[1][i], p = cuda::exp_of<T>(o);
        v[0][i] =
            dominates(o) ? -cuda::expm1_small(o) * g - p * (f.rest + (f.c - g)) : g - p * (f.rest + f.c);
      }
    } else {
#pragma unroll
      for (int i = 0; i < n; ++i) v[0][i] = v[1][i] - cuda::exp_of<T>(v[0][i]) * (f.rest + f.c);
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
