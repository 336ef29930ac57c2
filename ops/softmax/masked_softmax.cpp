#include "ops/softmax/masked_softmax.h"

#include <algorithm>
#include <limits>

#include "core/strided_copy.h"
#include "ops/cpu/rows.h"
#include "ops/cpu/softmax_rows.h"
#include "ops/samples.h"
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
  const Tensor logits = row_major(x[0]);
  const RowMasks masks(x);
  const auto keep_of = [&](std::int64_t row) -> const bool* {
    if (!masks.first) return nullptr;
    std::int64_t at = 0;
    for (int i = masks.first.rank() - 1; i >= 0; row /= masks.first.shape()[i--])
      at += row % masks.first.shape()[i] * masks.first.strides()[i];
    return masks.first.raw<bool>() + at;
  };
  const std::int64_t n = y.size(-1), length = causal ? y.size(-2) : 1;
  const auto run = [&]<class T>(Type<T>) {
    constexpr T hidden = -std::numeric_limits<T>::infinity();
    for_rows({&logits, 1}, y, y.rank() - 1, compute_type(y.dtype()),
             [&](auto in, void* out, std::int64_t row) {
               const T* const x = static_cast<const T*>(in[0]);
               T* const y = static_cast<T*>(out);
               const std::int64_t seen = causal ? std::min(n, row % length + 1) : n;
               const bool* const keep = keep_of(row);
               if (!keep || !masks.along)
                 for (std::int64_t i = 0; i < seen; ++i) y[i] = keep && !*keep ? hidden : x[i];
               else
                 for (std::int64_t i = 0; i < seen; ++i) y[i] = keep[i] ? x[i] : hidden;
               const T scale = static_cast<T>(1 / rows::exponentials(y, rows::max(y, seen), y, seen));
               for (std::int64_t i = 0; i < seen; ++i) y[i] *= scale;
               std::fill(y + seen, y + n, scale * 0);  // NaN where the row is
             });
  };
  y.dtype() == DType::f64 ? run(Type<double>{}) : run(Type<float>{});
}

Tensor masked_softmax(const Tensor& x, const Tensor& mask, bool causal) {
  return mask ? record(MaskedSoftmax{causal}, {x, mask}) : record(MaskedSoftmax{causal}, {x});
}

std::vector<Sample> MaskedSoftmax::samples() {
  const auto masked = [](Inputs x) { return masked_softmax(x[0], x.size() > 1 ? x[1] : Tensor()); };
  const auto causal = [](Inputs x) { return masked_softmax(x[0], x.size() > 1 ? x[1] : Tensor(), true); };
  constexpr double inf = std::numeric_limits<double>::infinity(),
                   nan = std::numeric_limits<double>::quiet_NaN();
  const auto mask = [](const Shape& shape) {  // the first place is always left
    return concat(
        {ones({shape[0], 1}, DType::boolean), to(bernoulli({shape[0], shape[1] - 1}, 0.6), DType::boolean)},
        1);
  };
  return {
      batch({"no mask", {sample_input({2, 5})}, masked}),
      {"a mask", {sample_input({3, 7}), mask({3, 7})}, masked},
      {"of places, for all rows", {sample_input({2, 3, 6}), mask({1, 6})}, masked},
      {"of heads", {sample_input({2, 2, 3}), tensor({{{1}}, {{1}}}, DType::boolean)}, masked},
      {"transposed mask",
       {sample_input({3, 5}),
        concat({ones({1, 3}, DType::boolean), to(bernoulli({4, 3}, 0.6), DType::boolean)}, 0)},
       [](Inputs x) { return masked_softmax(x[0], transpose(x[1])); }},
      {"causal", {sample_input({2, 4, 4})}, causal},
      {"causal, wide and tall", {sample_input({3, 5})}, causal},
      {"causal and a mask", {sample_input({2, 6, 4}), mask({6, 4})}, causal},
      {"one row", {sample_input({6})}, masked},
      {"hidden infinities",
       {tensor({{1, inf, 2}, {nan, 0, 1}, {-inf, 3, 1}}, DType::f64),
        tensor({{1, 0, 1}, {0, 1, 1}, {0, 0, 0}}, DType::boolean)},
       masked,
       {},
       false},
      {"long", {sample_input({2, 3, 1501}, -20, 20), mask({3, 1501})}, causal, {}, false},
      {"empty", {sample_input({0, 3, 4})}, causal},
      invalid(
          "mask", {sample_input({2, 3}), mask({3, 3})}, masked,
          "masked_softmax: shapes [2,3] and [3,3] do not broadcast: sizes 2 and 3 differ and neither is 1"),
      invalid("floating mask", {sample_input({2, 3}), sample_input({2, 3})}, masked,
              "masked_softmax: expected a bool mask of what is left; got f64[2,3]; a floating one is added "
              "to x"),
      invalid("larger mask", {sample_input({3}), mask({2, 3})}, masked,
              "masked_softmax: expected a mask that broadcasts to [3]; got bool[2,3]"),
      invalid("causal row", {sample_input({3})}, causal, "masked_softmax: expected [..., l, s]; got f64[3]")};
}

}  // namespace bobbin
