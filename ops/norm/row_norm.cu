// Layer norm, RMS norm and group norm on a GPU, through the row engine: a row is read once. Its sums are in
// f64, which holds the square of every f32 number, so that no row needs a second pass.
#include "ops/check.h"
#include "ops/cuda/rows/run.cuh"
#include "ops/norm/row_norm.cuh"
#include "ops/norm/statistics.h"

namespace bobbin {
namespace {

using cuda::Compute, cuda::RowWeights;

/// (x - mean) / sqrt(variance + eps) weight + bias. Sums are of the differences to an element of the row and
/// of their squares. Where that element is far from all others, up to log2(columns) bits of the variance
/// cancel, which f64 has to spare for the other types. In f64, it is the median of three elements.
template<class T>
struct RowNormRow : cuda::LastAxisOnly {
  using Storage = T;
  using C = Compute<T>;
  using WideSum = double;
  static constexpr bool is_double = std::is_same_v<T, double>;
  static constexpr int inputs = 1, sums = is_double ? 4 : 2;
  static constexpr bool has_max = false, caches = false;
  // The squares of f64 differences: those above 2^500 are multiplied by 2^-1400 and those below 2^-500 by
  // 2^1400, and are added on their own (J. L. Blue, "A portable Fortran program to find the Euclidean norm of
  // a vector").
  enum { total, squares, large, small };

  const T *x, *weight, *bias;
  RowStatistics<C>* kept;
  std::int64_t pitch, columns;
  double share, eps;
  bool centred;
  RowWeights<T> weights;

  struct Row {
    C shift;
    std::int64_t first_weight;
  };
  __device__ Row row(std::int64_t r) const {
    const T* const at = x + r * pitch;
    C shift = 0;
    if (centred) {
      shift = cuda::widen(*at);
      if constexpr (is_double) shift = median(shift, at[columns / 2], at[columns - 1]);
    }
    return {shift, weights.first(r)};
  }

  template<int n>
  __device__ void add(C (&v)[1][n], C, double (&s)[sums], const Row& row, std::int64_t column) const {
    if (column >= columns) return;
    const double shift = static_cast<double>(row.shift);
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const double d = static_cast<double>(v[0][i]) - shift;
      if constexpr (is_double) {
        const double size = fabs(d);
        s[total] += d * 0x1p-40;  // no sum of up to 2^40 elements overflows
        if (size > 0x1p500)
          s[large] += d * 0x1p-700 * (d * 0x1p-700);
        else if (size < 0x1p-500)
          s[small] += d * 0x1p700 * (d * 0x1p700);
        else
          s[squares] += d * d;  // NaN too
      } else {
        s[total] += d;
        s[squares] = fma(d, d, s[squares]);
      }
    }
  }
  __device__ void rescale(double (&)[sums], C, C) const {}

  using Finish = RowStatistics<C>;
  __device__ Finish finish(C, C, const double (&s)[sums], const Row& row) const {
    const double shift = static_cast<double>(row.shift);
    if constexpr (is_double) {
      const double unit = s[large] > 0 ? 0x1p-600 : s[squares] > 0 || eps > 0x1p-800 ? 1 : 0x1p600;
      const double all = unit < 1   ? s[large] * 0x1p200 + s[squares] * 0x1p-1000 * 0x1p-200
                         : unit > 1 ? s[small] * 0x1p-200 + s[squares]  // 0, or NaN
                                    : s[squares] + s[small] * 0x1p-1000 * 0x1p-400;
      return statistics<C>(shift * unit, centred ? s[total] * (0x1p40 * unit) : 0, all, share,
                           eps * unit * unit, unit);
    } else {
      return statistics<C>(shift, centred ? s[total] : 0, s[squares], share, eps);
    }
  }

  template<bool, int n>
  __device__ void put(C (&v)[1][n], const Finish& f, const Row& row, std::int64_t column) const {
    C w[n];
    weights.load(weight, row.first_weight, column, C(1), w);
#pragma unroll
    for (int i = 0; i < n; ++i) v[0][i] = f.normal(v[0][i]) * w[i];
    if (!bias) return;
    weights.load(bias, row.first_weight, column, C(0), w);
#pragma unroll
    for (int i = 0; i < n; ++i) v[0][i] += w[i];
  }
  __device__ void result(std::int64_t r, const Row& row, C, const double (&s)[sums]) const {
    if (kept) kept[r] = finish(0, 0, s, row);
  }
};

}  // namespace

void cuda::row_norm(const RowNormCall& c) {
  const Tensor in[] = {as_rows(c.x, c)};
  const RowOperands rows(in, as_rows(c.y, c), 1);
  visit_floating(c.x.dtype(), [&]<class T>(Type<T>) {
    const bool aligned = is_aligned(c.weight.raw()) && is_aligned(c.bias.raw());
    run_rows(c.name, rows,
             RowNormRow<T>{{},
                           static_cast<const T*>(rows.in(0)),
                           c.weight.raw<T>(),
                           c.bias.raw<T>(),
                           c.statistics.raw<RowStatistics<Compute<T>>>(),
                           rows.pitch[0],
                           c.layout.length,
                           1 / static_cast<double>(c.layout.length),
                           c.eps,
                           c.centred,
                           RowWeights<T>(c.name, c.layout, aligned)});
  });
}

}  // namespace bobbin
