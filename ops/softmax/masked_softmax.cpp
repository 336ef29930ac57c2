// Masked softmax: checks, the CPU kernel and the public function.
#include "ops/softmax/masked_softmax.h"

#include <bobbin/elementwise.h>

#include <algorithm>
#include <limits>

#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/cpu/rows.h"
#include "ops/cpu/softmax_rows.h"
#include "ops/promote.h"
#include "ops/view/view.h"

namespace bobbin {

RowMasks::RowMasks(Inputs x) {
  if (x.size() < 2) return;
  Tensor mask = x[1];
  if (mask.rank() && mask.size(-1) > 1 && mask.strides().back() != 1) mask = row_major(mask);
  mask = Expand{x[0].shape()}.view(mask);
  along = mask.strides().back() == 1;
  Shape firsts = mask.shape();
  firsts[firsts.size() - 1] = 1;
  first = mask.alias(firsts, mask.strides(), mask.offset());
}

TensorSpec MaskedSoftmax::infer(Inputs x) const {
  require_floating(name, x[0]);
  if (x[0].rank() < (causal ? 2 : 1))
    fail<ShapeError>(name, ": expected ", causal ? "[..., l, s]" : "[..., s]", "; got ", x[0].spec());
  if (x.size() > 1) {
    if (x[1].dtype() != DType::boolean)
      fail<DTypeError>(name, ": expected a bool mask of what is left; got ", x[1].spec(),
                       "; a floating one is added to x");
    if (broadcast(name, x[0].shape(), x[1].shape()) != x[0].shape())
      fail<ShapeError>(name, ": expected a mask that broadcasts to ", x[0].shape(), "; got ", x[1].spec());
  }
  return x[0].spec();
}

void MaskedSoftmax::cpu(Inputs x, Tensor& y) const {
  const RowMasks masks(x);
  const auto keep_of = [&](std::int64_t row) -> const bool* {
    if (!masks.first) return nullptr;
    std::int64_t at = 0;
    for (int i = masks.first.rank() - 1; i >= 0; row /= masks.first.shape()[i--])
      at += row % masks.first.shape()[i] * masks.first.strides()[i];
    return masks.first.raw<bool>() + at;
  };
  const std::int64_t n = y.size(-1), length = causal ? y.size(-2) : 1;
  const DType compute = compute_type(y.dtype());
  visit_some<double, float>(compute, [&]<class T>(Type<T>) {
    constexpr T hidden = -std::numeric_limits<T>::infinity();
    for_rows(x.first(1), y, y.rank() - 1, compute, [&](auto in, void* out, std::int64_t row) {
      const T* const x = static_cast<const T*>(in[0]);
      T* const y = static_cast<T*>(out);
      const std::int64_t seen = causal ? std::min(n, row % length + 1) : n;
      const bool* const keep = keep_of(row);
      if (!keep || !masks.along)
        for (std::int64_t i = 0; i < seen; ++i) y[i] = keep && !*keep ? hidden : x[i];
      else
        for (std::int64_t i = 0; i < seen; ++i) y[i] = keep[i] ? x[i] : hidden;
      const T max = rows::max(y, seen);
      if (empty_is_zero && max == hidden && std::all_of(y, y + seen, [=](T v) { return v == max; })) {
        std::fill(y, y + n, T(0));
        return;
      }
      const T scale = static_cast<T>(1 / rows::exponentials(y, max, y, seen));
      for (std::int64_t i = 0; i < seen; ++i) y[i] *= scale;
      std::fill(y + seen, y + n, scale * 0);  // NaN if the row is NaN
    });
  });
}

Tensor masked_softmax(const Tensor& x, const Tensor& mask, bool causal) {
  const Tensor z = in_f32(x);
  return mask ? record(MaskedSoftmax{causal}, {z, mask}) : record(MaskedSoftmax{causal}, {z});
}

}  // namespace bobbin
