// Softmax and log-softmax on a GPU, through the row engine.
#include "ops/softmax/softmax.h"
#include "ops/softmax/softmax_functor.cuh"

namespace bobbin {
namespace {

using cuda::exp_between, cuda::exp_minus, cuda::sum_of;

/// x - max - log(sum(exp(x - max))). Elements equal to the maximum have the exponential 1 and are counted in
/// a second sum. All but one of them are added to the first sum inside log1p, so that small exponentials are
/// not rounded away.
template<class T>
struct LogSoftmaxRow : cuda::SoftmaxForward<T, 2> {
  using typename cuda::SoftmaxForward<T, 2>::C;
  using typename cuda::SoftmaxForward<T, 2>::Row;
  static constexpr bool caches = false;
  struct Finish {
    C max, log_sum;
  };
  template<int n>
  __device__ void add(C (&v)[1][n], C m, C (&s)[2], const Row&, std::int64_t) const {
    const C shift = this->shift(m);
    C rest[n], ties[n];
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const bool tie = v[0][i] == shift;
      rest[i] = tie ? C(0) : exp_minus<T>(v[0][i], shift);
      ties[i] = tie ? C(1) : C(0);
    }
    s[0] += sum_of(rest);
    s[1] += sum_of(ties);
  }
  __device__ void rescale(C (&s)[2], C from, C to) const {
    if (from == to) return;
    s[0] = (s[0] + s[1]) * exp_between<T>(from, to);
    s[1] = 0;
  }
  __device__ Finish finish(C, C max, const C (&s)[2], const Row&) const {
    using std::log1p;
    return {max, max - max == 0 ? log1p(s[0] + (s[1] - 1)) : max - max};
  }
  template<bool, int n>
  __device__ void put(C (&v)[1][n], const Finish& f, const Row&, std::int64_t) const {
#pragma unroll
    for (int i = 0; i < n; ++i) v[0][i] = v[0][i] - f.max - f.log_sum;
  }
};

}  // namespace

void Softmax::cuda(Inputs x, Tensor& y) const {
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    cuda::run_rows(name, cuda::RowOperands(x, y, axis), cuda::SoftmaxRow<T>{});
  });
}

void LogSoftmax::cuda(Inputs x, Tensor& y) const {
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    cuda::run_rows(name, cuda::RowOperands(x, y, axis), LogSoftmaxRow<T>{});
  });
}

}  // namespace bobbin
