// concat, and the functions composed of it and of views: stack and split.
#include "ops/view/concat.h"

#include <bobbin/view.h>

#include <algorithm>

#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/promote.h"

namespace bobbin {

TensorSpec Concat::infer(Inputs x) const {
  Shape shape = x[0].shape();
  for (const Tensor& part : x.subspan(1)) {
    require_same_dtype(name, x[0], part);
    bool fits = part.rank() == x[0].rank();
    for (int i = 0; fits && i < shape.size(); ++i) fits = i == axis || part.shape()[i] == shape[i];
    if (!fits)
      fail<ShapeError>(name, ": sizes must agree on every axis but ", axis, "; got ", x[0].spec(), " and ",
                       part.spec());
    if (__builtin_add_overflow(shape[axis], part.shape()[axis], &shape[axis]))
      fail<ShapeError>(name, ": axis ", axis, " would have 2^63 elements or more");
  }
  require_countable(name, shape);
  return {shape, x[0].dtype(), x[0].device()};
}

void Concat::cpu(Inputs x, Tensor& y) const {
  std::int64_t at = 0;
  for (const Tensor& part : x) {
    copy_elements(part, y.alias(part.shape(), y.strides(), y.offset() + at * y.strides()[axis]));
    at += part.shape()[axis];
  }
}

Grads Concat::vjp(const Vjp& v) const {
  Grads g;
  std::int64_t at = 0;
  for (auto size : sizes) {
    g.push_back(v.needs(static_cast<int>(g.size())) ? slice(v.grad, axis, at, at + size) : Tensor());
    at += size;
  }
  return g;
}

Tensor concat(std::span<const Tensor> x, int axis) {
  if (x.empty()) fail<ValueError>("concat: expected at least one tensor; got none");
  Concat op{normalize_axis("concat", axis, x[0].rank()), {}};
  // If a tensor has too few axes, infer throws.
  for (const Tensor& part : x) op.sizes.push_back(op.axis < part.rank() ? part.shape()[op.axis] : 0);
  for (const Tensor& part : x)
    if (promotes(x[0], part)) {
      std::vector<Tensor> wide;
      for (const Tensor& t : x) wide.push_back(in_f32(t));
      return record(std::move(op), Inputs(wide));
    }
  return record(std::move(op), x);
}

Tensor stack(std::span<const Tensor> x, int axis) {
  if (x.empty()) fail<ValueError>("stack: expected at least one tensor; got none");
  axis = normalize_axis("stack", axis, x[0].rank() + 1);
  std::vector<Tensor> parts;
  for (const Tensor& part : x) {
    require_same_dtype("stack", x[0], part);
    require_same_shape("stack", x[0], part);
    parts.push_back(unsqueeze(part, axis));
  }
  return concat(parts, axis);
}

// An empty axis gives one empty tensor, so that concat(split(x)) is x.
std::vector<Tensor> split(const Tensor& x, std::int64_t size, int axis) {
  axis = normalize_axis("split", axis, x.rank());
  if (size < 1) fail<ValueError>("split: expected pieces of at least 1 element; got ", size);
  const std::int64_t whole = x.shape()[axis];
  std::vector<Tensor> pieces;
  for (std::int64_t at = 0; pieces.empty() || at < whole; at += std::min(size, whole - at))
    pieces.push_back(narrow(x, axis, at, std::min(size, whole - at)));
  return pieces;
}

}  // namespace bobbin
