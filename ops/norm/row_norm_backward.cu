// The derivative of layer norm, RMS norm and group norm for x on a GPU, through the row engine.
#include "ops/check.h"
#include "ops/cuda/rows/run.cuh"
#include "ops/norm/row_norm.cuh"
#include "ops/norm/row_norm_gradient.cuh"

namespace bobbin {
namespace {

using cuda::Compute, cuda::RowGradient, cuda::RowWeights;

/// The inputs are x and the cotangent g.
template<class T>
struct RowNormBackwardRow : cuda::LastAxisOnly {
  using Storage = T;
  using C = Compute<T>;
  static constexpr int inputs = 2, sums = 2;
  static constexpr bool has_max = false, caches = false;

  const RowStatistics<C>* kept;
  const T* weight;
  RowGradient<C> gradient;
  RowWeights<T> weights;

  struct Row {
    RowStatistics<C> statistics;
    std::int64_t first_weight;
  };
  __device__ Row row(std::int64_t r) const { return {kept[r], weights.first(r)}; }
  template<int n>
  __device__ void add(C (&v)[2][n], C, C (&s)[2], const Row& row, std::int64_t column) const {
    if (column >= weights.columns) return;  // 0, normalised, may be infinite
    C w[n];
    weights.load(weight, row.first_weight, column, C(1), w);
#pragma unroll
    for (int i = 0; i < n; ++i) gradient.add(row.statistics.normal(v[0][i]), v[1][i] * w[i], s);
  }
  __device__ void rescale(C (&)[2], C, C) const {}
  using Finish = typename RowGradient<C>::Means;
  __device__ Finish finish(C, C, const C (&s)[2], const Row&) const { return gradient.means(s); }
  template<bool, int n>
  __device__ void put(C (&v)[2][n], const Finish& f, const Row& row, std::int64_t column) const {
    C w[n];
    weights.load(weight, row.first_weight, column, C(1), w);
#pragma unroll
    for (int i = 0; i < n; ++i)
      v[0][i] = f.gradient(row.statistics, row.statistics.normal(v[0][i]), v[1][i] * w[i]);
  }
  __device__ void result(std::int64_t, const Row&, C, const C (&)[2]) const {}
};

}  // namespace

void cuda::row_norm_backward(const RowNormCall& c) {
  visit_floating(c.x.dtype(), [&]<class T>(Type<T>) {
    using C = Compute<T>;
    if ((c.weight_grad || c.bias_grad) && weight_gradients<T>(c)) return;
    if (!c.x_grad) return;
    const Tensor in[] = {as_rows(c.x, c), as_rows(c.g, c)};
    run_rows(c.name, RowOperands(in, as_rows(c.x_grad, c), 1),
             RowNormBackwardRow<T>{{},
                                   c.statistics.raw<RowStatistics<C>>(),
                                   c.weight.raw<T>(),
                                   RowGradient<C>(c.layout.length, c.centred),
                                   RowWeights<T>(c.name, c.layout, is_aligned(c.weight.raw()))});
  });
}

}  // namespace bobbin
