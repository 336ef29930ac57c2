// Checks and steps of the formula that the normalisations share.
#include "ops/norm/normalize.h"

#include <bobbin/reduce.h>
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

Axes last_axes(std::string_view op, const Tensor& x, const Shape& over) {
  require_floating(op, x);
  const int first = x.rank() - over.size();
  Axes axes;
  for (int i = 0; i < over.size(); ++i) {
    if (first < 0 || x.shape()[first + i] != over[i])
      fail<ShapeError>(op, ": expected last axes ", over, "; got ", x.spec());
    axes.push_back(first + i);
  }
  return axes;
}

Tensor standardized(const Tensor& x, const Axes& axes, double eps) {
  const Tensor centred = x - mean(x, axes, true);
  return centred * rsqrt(mean(square(centred), axes, true) + eps);
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
