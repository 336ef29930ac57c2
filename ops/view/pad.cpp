// pad and pad_strided: a tensor copied into a larger one.
#include "ops/view/pad.h"

#include <bobbin/view.h>

#include "core/strided_copy.h"

namespace bobbin {

void Pad::cpu(Inputs x, Tensor& y) const {
  y.fill_(value);
  Strides strides = y.strides();
  std::int64_t offset = y.offset();
  for (int i = 0; i < strides.size(); ++i) {
    offset += starts[i] * strides[i];
    strides[i] *= steps[i];
  }
  copy_elements(x[0], y.alias(x[0].shape(), strides, offset));
}

Grads Pad::vjp(const Vjp& v) const {
  const Shape& inside = v.spec(0).shape;
  Tensor g = v.grad;
  for (int i = 0; i < shape.size(); ++i) {
    if (inside[i] == shape[i]) continue;
    const std::int64_t span = inside[i] > 0 ? (inside[i] - 1) * steps[i] + 1 : 0;
    g = slice(g, i, starts[i], starts[i] + span, steps[i]);
  }
  return {g};
}

Tensor pad_strided(const Tensor& x, const Shape& shape, const Dims& starts, const Dims& steps) {
  return shape == x.shape() ? x : record(Pad{shape, starts, steps}, {x});
}

Tensor pad(const Tensor& x, std::span<const std::pair<std::int64_t, std::int64_t>> pads, double value) {
  if (pads.size() != static_cast<std::size_t>(x.rank()))
    fail<ShapeError>("pad: expected a pair of counts for each axis of ", x.spec(), "; got ", pads.size());
  Shape shape = x.shape();
  Dims starts;
  for (int i = 0; i < shape.size(); ++i) {
    const auto [before, after] = pads[static_cast<std::size_t>(i)];
    if (before < 0 || after < 0)
      fail<ValueError>("pad: counts must not be negative; got ", before, " and ", after, " for axis ", i);
    if (__builtin_add_overflow(shape[i], before, &shape[i]) ||
        __builtin_add_overflow(shape[i], after, &shape[i]))
      fail<ShapeError>("pad: axis ", i, " would have more than 2^63 elements");
    starts.push_back(before);
  }
  require_countable("pad", shape);
  if (!can_hold(x.dtype(), value)) fail<ValueError>("pad: no ", x.dtype(), " is ", value);
  return record(Pad{shape, starts, Dims::filled(shape.size(), 1), value}, {x});
}

}  // namespace bobbin
