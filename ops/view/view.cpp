#include "ops/view/view.h"

#include <algorithm>

#include "core/ceil_div.h"
#include "ops/elementwise/binary.h"
#include "ops/view/join.h"

namespace bobbin {
namespace {

// Strides under which x's elements have another shape, if there are any: each run of axes that lie in one
// piece is split or merged by itself.
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

Grads Slice::vjp(const Vjp& v) const {
  const Shape& shape = v.spec(0).shape;
  Dims starts = Dims::filled(shape.size(), 0), steps = Dims::filled(shape.size(), 1);
  starts[axis] = start;
  steps[axis] = step;
  return {place(v.grad, shape, starts, steps)};
}

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
    else
      known *= shape[i];
  }
  if (open >= 0 && known > 0) shape[open] = x.numel() / known;
  if (open >= 0 && known == 0)
    fail<ShapeError>("reshape: the -1 in ", wanted, " could be any size, as another is 0; give it");
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
    if (i > first && i <= last)
      shape[first] *= x.shape()[i];
    else
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
  start = cut(start);
  const std::int64_t length = std::max<std::int64_t>(0, cut(stop) - start);
  return record(Slice{axis, start, ceil_div(length, step), step}, {x});
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
  return shape == x.shape() ? x : record(Expand{shape}, {x});
}

Tensor contiguous(const Tensor& x) { return x.is_contiguous() ? x : clone(x); }
Tensor clone(const Tensor& x) { return record(ToDType{x.dtype()}, {x}); }

std::vector<Sample> Reshape::samples() {
  const Tensor x = sample_input({2, 6});
  const auto to = [](Shape s) { return [s](Inputs x) { return reshape(x[0], s); }; };
  return {{"to [3,4]", {x}, to({3, 4})},
          {"with -1", {x}, to({2, -1, 2})},
          {"of a transposed view",
           {x},
           [](Inputs x) {
             return reshape(transpose(x[0]), {4, 3});
           }},
          {"flatten", {sample_input({2, 3, 2})}, [](Inputs x) { return flatten(x[0], 1); }},
          {"squeeze", {sample_input({2, 1, 3, 1})}, [](Inputs x) { return squeeze(squeeze(x[0], 1)); }},
          {"squeeze of a view",
           {sample_input({2, 1, 3})},
           [](Inputs x) { return squeeze(transpose(x[0], 0, 2), 1); }},
          {"unsqueeze", {sample_input({2, 3})}, [](Inputs x) { return unsqueeze(unsqueeze(x[0], 0), -1); }},
          {"empty", {sample_input({0, 3})}, to({3, 0, 2})},
          invalid("count", {x}, to({5, 2}), "reshape: f64[2,6] has 12 elements, which [5,2] does not hold"),
          invalid("two open sizes", {x}, to({-1, -1}),
                  "reshape: shape [-1,-1] has more than one -1, or a negative size"),
          invalid(
              "squeeze", {x}, [](Inputs x) { return squeeze(x[0], 0); },
              "squeeze: axis 0 of f64[2,6] is not of size 1")};
}

std::vector<Sample> Permute::samples() {
  const Tensor x = sample_input({2, 3, 4});
  return {{"all axes",
           {x},
           [](Inputs x) {
             return permute(x[0], {2, 0, 1});
           }},
          {"transpose", {x}, [](Inputs x) { return transpose(x[0]); }},
          {"movedim", {x}, [](Inputs x) { return movedim(x[0], 0, -1); }},
          {"0 dimensions", {sample_input({})}, [](Inputs x) { return permute(x[0], {}); }},
          invalid(
              "an axis twice", {x},
              [](Inputs x) {
                return permute(x[0], {0, 0, 1});
              },
              "permute: [0,0,1] does not name each axis of f64[2,3,4] once")};
}

std::vector<Sample> Slice::samples() {
  const Tensor x = sample_input({4, 5});
  return {{"rows", {x}, [](Inputs x) { return slice(x[0], 0, 1, 3); }},
          {"with a step", {x}, [](Inputs x) { return slice(x[0], 1, 0, 5, 2); }},
          {"from the end", {x}, [](Inputs x) { return slice(x[0], -1, -3, 99, 1); }},
          {"nothing", {x}, [](Inputs x) { return slice(x[0], 0, 3, 1); }},
          {"of nothing", {sample_input({0, 3})}, [](Inputs x) { return slice(x[0], 1, 1, 3); }},
          {"of one", {sample_input({1})}, [](Inputs x) { return slice(x[0], 0, 0, 1); }},
          {"select", {x}, [](Inputs x) { return select(x[0], 1, -1); }},
          {"narrow", {x}, [](Inputs x) { return narrow(x[0], 0, 1, 2); }},
          invalid(
              "step", {x}, [](Inputs x) { return slice(x[0], 0, 0, 4, 0); },
              "slice: expected a step of at least 1; got 0"),
          invalid(
              "select", {x}, [](Inputs x) { return select(x[0], 0, 4); },
              "select: index 4 is outside axis 0 of f64[4,5]"),
          invalid(
              "narrow", {x}, [](Inputs x) { return narrow(x[0], 0, 3, 2); },
              "narrow: 2 elements from 3 are not all in axis 0 of f64[4,5]")};
}

std::vector<Sample> Expand::samples() {
  return {{"an axis",
           {sample_input({3, 1})},
           [](Inputs x) {
             return expand(x[0], {3, 4});
           }},
          {"new axes",
           {sample_input({3})},
           [](Inputs x) {
             return expand(x[0], {2, 2, -1});
           }},
          {"a matrix",
           {sample_input({2, 3})},
           [](Inputs x) {
             return expand(x[0], {4, 2, 3});
           }},
          {"scalar",
           {sample_input({})},
           [](Inputs x) {
             return expand(x[0], {2, 3});
           }},
          invalid(
              "shape", {sample_input({3})}, [](Inputs x) { return expand(x[0], {4}); },
              "expand: f64[3] does not broadcast to [4]")};
}

}  // namespace bobbin
