// Masked softmax on a GPU: the functor of softmax with a mask.
#include "core/cuda/strided.cuh"
#include "ops/softmax/masked_softmax.h"
#include "ops/softmax/softmax_functor.cuh"

namespace bobbin {
namespace {

/// Softmax of the elements that a mask and a causal mask keep; the others become -infinity.
template<class T>
struct MaskedSoftmaxRow : cuda::SoftmaxRow<T> {
  using Base = cuda::SoftmaxRow<T>;
  using typename Base::C;
  static constexpr bool masked = true;
  const bool* first_mask;           // the mask of the first row, or null
  cuda::StridedIndex<1> row_masks;  // offset of each row's mask
  int stride;                       // between the columns of a row's mask
  std::int64_t columns, period;     // the causal mask repeats every `period` rows; 0 without one
  bool empty_is_zero;

  struct Row : Base::Row {
    const bool* keep;
    std::int64_t end;  // the first column above the diagonal
  };
  __device__ Row row(std::int64_t r) const {
    Row w{{}, nullptr, columns};
    if (first_mask) {
      std::int64_t at[1];
      row_masks(r, at);
      w.keep = first_mask + at[0];
    }
    if (period) w.end = cuda::smaller(columns, r % period + 1);
    return w;
  }
  __device__ typename Base::Finish finish(C own, C max, const C (&s)[1], const Row& row) const {
    if (empty_is_zero && s[0] == 0) return {0, 0};  // all elements are -infinity, whose exponentials are 0
    return Base::finish(own, max, s, row);
  }
  template<int n>
  __device__ void mask(C (&v)[n], const Row& w, std::int64_t column) const {
#pragma unroll
    for (int i = 0; i < n; ++i)
      if (column + i >= w.end || (w.keep && !w.keep[(column + i) * stride])) v[i] = -cuda::infinity<C>();
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
                                causal ? y.size(-2) : 0,
                                empty_is_zero};
    cuda::run_rows(name, cuda::RowOperands(x.first(1), y, y.rank() - 1), f);
  });
}

}  // namespace bobbin
