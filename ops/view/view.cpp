// The view operations: shapes and strides of results, derivatives, and the public functions.
#include "ops/view/view.h"

#include <algorithm>
#include <limits>

#include "core/ceil_div.h"
#include "ops/elementwise/binary.h"
#include "ops/view/pad.h"

namespace bobbin {
namespace {

// The strides that give x's elements another shape without a copy; nullopt if there are none. Runs of axes
// whose elements are at one constant stride are split and merged independently of each other.
std::optional<Strides> restride(const Tensor& x, const Shape& shape) {
  if (x.numel() == 0 || x.rank() == 0) return contiguous_strides(shape);
  Strides strides = Strides::filled(shape.size(), 0);
  int to = shape.size() - 1;
  std::int64_t base = x.strides().back(), piece = 1, made = 1;
  for (int from = x.rank() - 1; from >= 0; --from) {
    piece *= x.shape()[from];
    if (from > 0 && (x.shape()[from - 1] == 1 || x.strides()[from - 1] == piece * base)) continue;
    for (; to >= 0 && (made < piece || shape[to] == 1); --to) {
      strides[to] = made * base;
      made *= shape[to];
    }
    if (made != piece) return std::nullopt;
    if (from > 0) base = x.strides()[from - 1];
    piece = made = 1;
  }
  return strides;
}

}  // namespace

Tensor Reshape::view(const Tensor& x) const { return x.alias(shape, *restride(x, shape), x.offset()); }

Tensor Permute::view(const Tensor& x) const {
  Shape shape;
  Strides strides;
  for (auto axis : order) {
    shape.push_back(x.shape()[static_cast<int>(axis)]);
    strides.push_back(x.strides()[static_cast<int>(axis)]);
  }
  return x.alias(shape, strides, x.offset());
}

Grads Permute::vjp(const Vjp& v) const {
  Axes inverse = order;
  for (int i = 0; i < order.size(); ++i) inverse[static_cast<int>(order[i])] = i;
  return {permute(v.grad, inverse)};
}

Tensor Slice::view(const Tensor& x) const {
  Shape shape = x.shape();
  Strides strides = x.strides();
  shape[axis] = count;
  strides[axis] *= step;
  return x.alias(shape, strides, x.offset() + (count > 0 ? start * x.strides()[axis] : 0));
}

Tensor Slice::padded(const Tensor& g, const Shape& shape) const {
  Dims starts = Dims::filled(shape.size(), 0), steps = Dims::filled(shape.size(), 1);
  starts[axis] = start;
  steps[axis] = step;
  return pad_strided(g, shape, starts, steps);
}

Grads Slice::vjp(const Vjp& v) const { return {padded(v.grad, v.spec(0).shape)}; }

Tensor Expand::view(const Tensor& x) const {
  const int lead = shape.size() - x.rank();
  Strides strides = Strides::filled(shape.size(), 0);
  for (int i = 0; i < x.rank(); ++i)
    if (x.shape()[i] == shape[i + lead]) strides[i + lead] = x.strides()[i];
  return x.alias(shape, strides, x.offset());
}

Tensor reshape(const Tensor& x, const Shape& wanted) {
  Shape shape = wanted;
  int open = -1;
  std::int64_t known = 1;
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] == -1 && open < 0)
      open = i;
    else if (shape[i] < 0)
      fail<ShapeError>("reshape: shape ", wanted, " has more than one -1, or a negative size");
    else if (__builtin_mul_overflow(known, shape[i], &known))
      known = wanted.contains(0) ? 0 : std::numeric_limits<std::int64_t>::max();
  }
  if (open >= 0 && known > 0) shape[open] = x.numel() / known;
  if (open >= 0 && known == 0)
    fail<ShapeError>("reshape: the -1 in ", wanted, " could be any size, as another is 0; give it");
  require_countable("reshape", shape);
  if (numel(shape) != x.numel())
    fail<ShapeError>("reshape: ", x.spec(), " has ", x.numel(), " elements, which ", wanted,
                     " does not hold");
  if (shape == x.shape()) return x;
  return record(Reshape{shape}, {restride(x, shape) ? x : clone(x)});
}

Tensor flatten(const Tensor& x, int first, int last) {
  if (x.rank() == 0) return reshape(x, {1});
  first = normalize_axis("flatten", first, x.rank());
  last = normalize_axis("flatten", last, x.rank());
  if (first > last) fail<ShapeError>("flatten: axis ", first, " comes after axis ", last);
  Shape shape;
  for (int i = 0; i < x.rank(); ++i) {
    if (i > first && i <= last) {
      if (__builtin_mul_overflow(shape[first], x.shape()[i], &shape[first]))
        fail<ShapeError>("flatten: the merged axis of ", x.spec(), " would have 2^63 elements or more");
    } else
      shape.push_back(x.shape()[i]);
  }
  return reshape(x, shape);
}

Tensor permute(const Tensor& x, const Axes& order) {
  Axes axes;
  for (auto axis : order) axes.push_back(normalize_axis("permute", axis, x.rank()));
  for (int i = 0; i < x.rank(); ++i)
    if (axes.size() != x.rank() || !axes.contains(i))
      fail<ShapeError>("permute: ", order, " does not name each axis of ", x.spec(), " once");
  return record(Permute{axes}, {x});
}

Tensor transpose(const Tensor& x, int a, int b) {
  Axes order;
  for (int i = 0; i < x.rank(); ++i) order.push_back(i);
  std::swap(order[normalize_axis("transpose", a, x.rank())], order[normalize_axis("transpose", b, x.rank())]);
  return record(Permute{order}, {x});
}

Tensor movedim(const Tensor& x, int from, int to) {
  from = normalize_axis("movedim", from, x.rank());
  to = normalize_axis("movedim", to, x.rank());
  Axes order;
  for (int i = 0; i < x.rank(); ++i)
    if (i != from) order.push_back(i);
  order.insert(to, from);
  return from == to ? x : record(Permute{order}, {x});
}

Tensor slice(const Tensor& x, int axis, std::int64_t start, std::int64_t stop, std::int64_t step) {
  axis = normalize_axis("slice", axis, x.rank());
  if (step < 1) fail<ValueError>("slice: expected a step of at least 1; got ", step);
  const std::int64_t size = x.shape()[axis];
  const auto cut = [size](std::int64_t i) { return std::clamp<std::int64_t>(i < 0 ? i + size : i, 0, size); };
  constexpr auto end = std::numeric_limits<std::int64_t>::max();
  const bool beyond = (stop > size && stop != end) || stop < -size || start > size || start < -size;
  start = cut(start);
  const std::int64_t length = std::max<std::int64_t>(0, cut(stop) - start);
  // A larger step gives the same single element, and might overflow in strides.
  step = std::clamp<std::int64_t>(length, 1, step);
  return record(Slice{axis, start, length == 0 ? 0 : (length - 1) / step + 1, step, beyond}, {x});
}

Tensor narrow(const Tensor& x, int axis, std::int64_t start, std::int64_t length) {
  axis = normalize_axis("narrow", axis, x.rank());
  const std::int64_t size = x.shape()[axis];
  if (start < 0 || length < 0 || start > size || length > size - start)
    fail<IndexError>("narrow: ", length, " elements from ", start, " are not all in axis ", axis, " of ",
                     x.spec());
  return record(Slice{axis, start, length, 1}, {x});
}

Tensor select(const Tensor& x, int axis, std::int64_t index) {
  axis = normalize_axis("select", axis, x.rank());
  const std::int64_t size = x.shape()[axis];
  if (index < -size || index >= size)
    fail<IndexError>("select: index ", index, " is outside axis ", axis, " of ", x.spec());
  return squeeze(record(Slice{axis, index < 0 ? index + size : index, 1, 1}, {x}), axis);
}

Tensor squeeze(const Tensor& x, int axis) {
  axis = normalize_axis("squeeze", axis, x.rank());
  if (x.shape()[axis] != 1) fail<ShapeError>("squeeze: axis ", axis, " of ", x.spec(), " is not of size 1");
  Shape shape = x.shape();
  shape.erase(axis);
  return reshape(x, shape);
}

Tensor squeeze(const Tensor& x) {
  Shape shape;
  for (auto size : x.shape())
    if (size != 1) shape.push_back(size);
  return reshape(x, shape);
}

Tensor unsqueeze(const Tensor& x, int axis) {
  axis = normalize_axis("unsqueeze", axis, x.rank() + 1);
  Shape shape = x.shape();
  shape.insert(axis, 1);
  return reshape(x, shape);
}

Tensor expand(const Tensor& x, const Shape& wanted) {
  const int lead = wanted.size() - x.rank();
  Shape shape = wanted;
  bool fits = lead >= 0;
  for (int i = 0; i < wanted.size(); ++i) {
    if (fits && i >= lead && shape[i] == -1) shape[i] = x.shape()[i - lead];
    fits = fits && shape[i] >= 0 && (i < lead || x.shape()[i - lead] == shape[i] || x.shape()[i - lead] == 1);
  }
  if (!fits) fail<ShapeError>("expand: ", x.spec(), " does not broadcast to ", wanted);
  require_countable("expand", shape);
  return shape == x.shape() ? x : record(Expand{shape}, {x});
}

Tensor contiguous(const Tensor& x) { return x.is_contiguous() ? x : clone(x); }
Tensor clone(const Tensor& x) { return record(ToDType{x.dtype()}, {x}); }

}  // namespace bobbin
