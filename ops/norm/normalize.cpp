// Checks that the normalisations share, and steps of their formulas.
#include "ops/norm/normalize.h"

#include <bobbin/view.h>

#include "ops/check.h"

namespace bobbin {

void require_like(std::string_view op, const Tensor& x, const Tensor& t, const Shape& shape,
                  std::string_view what) {
  if (!t) return;
  require_same_dtype(op, x, t);
  if (t.shape() != shape) fail<ShapeError>(op, ": expected ", what, " ", shape, "; got ", t.spec());
}

void require_channels(std::string_view op, const Tensor& x) {
  require_floating(op, x);
  if (x.rank() < 2) fail<ShapeError>(op, ": expected x [n, channels, ...]; got ", x.spec());
}

std::int64_t last_axes(std::string_view op, const Tensor& x, const Shape& over) {
  require_floating(op, x);
  const int first = x.rank() - over.size();
  if (over.size() == 0) fail<ShapeError>(op, ": expected the sizes of at least one axis; got none");
  for (int i = 0; i < over.size(); ++i)
    if (first < 0 || x.shape()[first + i] != over[i])
      fail<ShapeError>(op, ": expected last axes ", over, "; got ", x.spec());
  return numel(over);
}

Tensor affine(Tensor y, const Tensor& weight, const Tensor& bias) {
  if (weight) y = y * weight;
  return bias ? y + bias : y;
}

Tensor by_channel(const Tensor& t, const Tensor& x) {
  if (!t) return t;
  Shape shape{t.size(0)};
  for (int i = 2; i < x.rank(); ++i) shape.push_back(1);
  return reshape(t, shape);
}

}  // namespace bobbin
