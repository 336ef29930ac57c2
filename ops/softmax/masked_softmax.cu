// Softmax of what a mask leaves, on a GPU: softmax's rows, seen through the mask.
#include "core/cuda/strided.cuh"
#include "ops/softmax/masked_softmax.h"
#include "ops/softmax/softmax_functor.cuh"

namespace bobbin {
namespace {

template<class T>
struct MaskedSoftmaxRow : cuda::SoftmaxRow<T> {
  using Base = cuda::SoftmaxRow<T>;
  using typename Base::C;
  static constexpr bool masked = true;
  const bool* first;  // the masks, or null
  cuda::StridedIndex<1> rows;
  int step;                      // between the places of a row's mask
  std::int64_t columns, length;  // rows that a causal mask begins anew after, or 0

  struct Row : Base::Row {
    const bool* keep;
    std::int64_t seen;  // columns that are not behind the diagonal
  };
  __device__ Row row(std::int64_t r) const {
    Row w{{}, nullptr, columns};
    if (first) {
      std::int64_t at[1];
      rows(r, at);
      w.keep = first + at[0];
    }
    if (length) w.seen = cuda::smaller(columns, r % length + 1);
    return w;
  }
  template<int n>
  __device__ void mask(C (&v)[n], const Row& w, std::int64_t column) const {
#pragma unroll
    for (int i = 0; i < n; ++i)
      if (column + i >= w.seen || (w.keep && !w.keep[(column + i) * step])) v[i] = -cuda::infinity<C>();
  }
};

}  // namespace

void MaskedSoftmax::cuda(Inputs x, Tensor& y) const {
  const RowMasks masks(x);
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    Shape rows = y.shape();
    rows[rows.size() - 1] = 1;
    const MaskedSoftmaxRow<T> f{{},
                                masks.first.raw<bool>(),
                                cuda::StridedIndex<1>(rows, {masks.first ? &masks.first : &y}),
                                masks.along,
                                y.size(-1),
                                causal ? y.size(-2) : 0};
    cuda::run_rows(name, cuda::RowOperands(x.first(1), y, y.rank() - 1), f);
  });
}

}  // namespace bobbin
