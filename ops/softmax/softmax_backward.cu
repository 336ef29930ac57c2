// The derivatives of softmax and log-softmax on a GPU, through the row engine. The inputs are O and dO.
#include "ops/cuda/rows/run.cuh"
#include "ops/softmax/softmax.h"

namespace bobbin {
namespace {

using cuda::Compute;

/// The members that both functors share: one sum, no maximum.
template<class T>
struct Backward {
  using Storage = T;
  using C = Compute<T>;
  static constexpr int inputs = 2, sums = 1;
  static constexpr bool has_max = false, caches = false;
  struct Row {};
  struct Finish {
    C sum;
  };
  __device__ Row row(std::int64_t) const { return {}; }
  __device__ void rescale(C (&)[1], C, C) const {}
  __device__ Finish finish(C, C, const C (&s)[1], const Row&) const { return {s[0]}; }
  __device__ void result(std::int64_t, const Row&, C, const C (&)[1]) const {}
};

/// O (dO - sum(O dO))
template<class T>
struct SoftmaxBackwardRow : Backward<T> {
  using typename Backward<T>::C;
  using typename Backward<T>::Row;
  using typename Backward<T>::Finish;
  template<int n>
  __device__ void add(C (&v)[2][n], C, C (&s)[1], const Row&, std::int64_t) const {
#pragma unroll
    for (int i = 0; i < n; ++i) s[0] += v[0][i] * v[1][i];
  }
  template<bool, int n>
  __device__ void put(C (&v)[2][n], const Finish& f, const Row&, std::int64_t) const {
#pragma unroll
    for (int i = 0; i < n; ++i) v[0][i] *= v[1][i] - f.sum;
  }
};

/// dO - exp(O) sum(dO)
template<class T>
struct LogSoftmaxBackwardRow : Backward<T> {
  using typename Backward<T>::C;
  using typename Backward<T>::Row;
  using typename Backward<T>::Finish;
  template<int n>
  __device__ void add(C (&v)[2][n], C, C (&s)[1], const Row&, std::int64_t) const {
#pragma unroll
    for (int i = 0; i < n; ++i) s[0] += v[1][i];
  }
  template<bool, int n>
  __device__ void put(C (&v)[2][n], const Finish& f, const Row&, std::int64_t) const {
#pragma unroll
    for (int i = 0; i < n; ++i) v[0][i] = v[1][i] - cuda::exp_of<T>(v[0][i]) * f.sum;
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
