#include "ops/view/join.h"

#include <algorithm>

#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/samples.h"

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
    shape[axis] += part.shape()[axis];
  }
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

Tensor place(const Tensor& x, const Shape& shape, const Dims& starts, const Dims& steps) {
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
  return record(Pad{shape, starts, Dims::filled(shape.size(), 1), value}, {x});
}

Tensor concat(std::span<const Tensor> x, int axis) {
  if (x.empty()) fail<ValueError>("concat: expected at least one tensor; got none");
  Concat op{normalize_axis("concat", axis, x[0].rank()), {}};
  // A tensor of too few axes has no size here; infer refuses it.
  for (const Tensor& part : x) op.sizes.push_back(op.axis < part.rank() ? part.shape()[op.axis] : 0);
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

// An empty axis gives one empty piece, so that concat(split(x)) is always x.
std::vector<Tensor> split(const Tensor& x, std::int64_t size, int axis) {
  axis = normalize_axis("split", axis, x.rank());
  if (size < 1) fail<ValueError>("split: expected pieces of at least 1 element; got ", size);
  const std::int64_t whole = x.shape()[axis];
  std::vector<Tensor> pieces;
  for (std::int64_t at = 0; pieces.empty() || at < whole; at += std::min(size, whole - at))
    pieces.push_back(narrow(x, axis, at, std::min(size, whole - at)));
  return pieces;
}

std::vector<Sample> Concat::samples() {
  const Tensor a = sample_input({2, 3}), b = sample_input({2, 1}), c = sample_input({1, 3});
  const auto along = [](int axis) { return [axis](Inputs x) { return concat(x, axis); }; };
  const auto stacked = [](int axis) { return [axis](Inputs x) { return stack(x, axis); }; };
  const auto none = [](Inputs) { return concat(std::span<const Tensor>()); };
  const auto pieces = [](std::int64_t size, int axis) {
    return [=](Inputs x) {
      auto parts = split(x[0], size, axis);
      std::reverse(parts.begin(), parts.end());
      return concat(parts, axis);
    };
  };
  std::vector<Tensor> many;
  for (int i = 0; i < 70; ++i) many.push_back(sample_input({1, i % 3}));
  return {{"axis 0", {a, c}, along(0)},
          {"axis 1", {b, a, b}, along(1)},
          {"negative axis", {a, b}, along(-1)},
          {"middle axis", {sample_input({2, 1, 2}), sample_input({2, 2, 2})}, along(1)},
          {"one tensor", {a}, along(0)},
          {"one tensor twice",
           {c},
           [](Inputs x) {
             return concat({x[0], x[0]}, 0);
           }},
          {"of views",
           {sample_input({3, 2}), c},
           [](Inputs x) {
             return concat({transpose(x[0]), x[1]}, 0);
           }},
          {"an empty part", {a, sample_input({0, 3}), c}, along(0)},
          {"all empty", {sample_input({0, 2}), sample_input({0, 1})}, along(1)},
          {"70 tensors", many, along(1), {}, false},
          {"more than a tile", {sample_input({90, 150}), sample_input({90, 50})}, along(1), {}, false},
          {"stack", {a, sample_input({2, 3})}, stacked(0)},
          {"stack in the middle", {a, sample_input({2, 3})}, stacked(1)},
          {"stack at the end", {a, sample_input({2, 3})}, stacked(-1)},
          {"stack of scalars", {sample_input({}), sample_input({}), sample_input({})}, stacked(0)},
          {"split", {sample_input({5, 2})}, pieces(2, 0)},
          {"split along a negative axis", {a}, pieces(1, -1)},
          {"split in one piece", {a}, pieces(9, 0)},
          {"split of nothing", {sample_input({0, 2})}, pieces(2, 0)},
          invalid("none", {a}, none, "concat: expected at least one tensor; got none"),
          invalid("axis", {a, a}, along(2), "concat: axis 2 is out of range for 2 dimensions"),
          invalid("scalars", {sample_input({})}, along(0), "concat: axis 0 is out of range for 0 dimensions"),
          invalid("sizes", {a, b}, along(0),
                  "concat: sizes must agree on every axis but 0; got f64[2,3] and f64[2,1]"),
          invalid("ranks", {a, sample_input({2})}, along(1),
                  "concat: sizes must agree on every axis but 1; got f64[2,3] and f64[2]"),
          invalid("dtypes", {a, zeros({2, 3}, DType::i64)}, along(0),
                  "concat: dtypes must agree; got f64[2,3] and i64[2,3]; convert one with to(x, DType)"),
          invalid(
              "stack of none", {a}, [](Inputs) { return stack(std::span<const Tensor>()); },
              "stack: expected at least one tensor; got none"),
          invalid("stack axis", {a}, stacked(3), "stack: axis 3 is out of range for 3 dimensions"),
          invalid("stack shapes", {a, b}, stacked(0), "stack: shapes must agree; got f64[2,3] and f64[2,1]"),
          invalid("stack dtypes", {a, zeros({2, 3}, DType::i64)}, stacked(0),
                  "stack: dtypes must agree; got f64[2,3] and i64[2,3]; convert one with to(x, DType)"),
          invalid("split size", {a}, pieces(0, 0), "split: expected pieces of at least 1 element; got 0"),
          invalid("split axis", {a}, pieces(1, 2), "split: axis 2 is out of range for 2 dimensions")};
}

std::vector<Sample> Pad::samples() {
  const Tensor x = sample_input({2, 3});
  static constexpr std::int64_t most = INT64_MAX;
  return {{"one side",
           {x},
           [](Inputs x) {
             return pad(x[0], {{0, 1}, {2, 0}});
           }},
          {"both sides",
           {x},
           [](Inputs x) {
             return pad(x[0], {{1, 1}, {1, 2}}, -1.5);
           }},
          {"no side",
           {x},
           [](Inputs x) {
             return pad(x[0], {{0, 0}, {0, 0}});
           }},
          {"of a view",
           {x},
           [](Inputs x) {
             return pad(transpose(x[0]), {{1, 0}, {0, 1}});
           }},
          {"scalar", {sample_input({})}, [](Inputs x) { return pad(x[0], {}); }},
          {"empty",
           {sample_input({0, 2})},
           [](Inputs x) {
             return pad(x[0], {{1, 1}, {0, 1}}, 3);
           }},
          {"to an empty one",
           {sample_input({0, 2})},
           [](Inputs x) {
             return pad(x[0], {{0, 0}, {1, 1}});
           }},
          {"with steps",
           {x},
           [](Inputs x) {
             return place(x[0], {4, 8}, {1, 1}, {2, 3});
           }},
          {"more than a tile",
           {sample_input({60, 300})},
           [](Inputs x) {
             return pad(x[0], {{1, 2}, {3, 4}});
           },
           {},
           false},
          invalid(
              "pairs", {x},
              [](Inputs x) {
                return pad(x[0], {{1, 1}});
              },
              "pad: expected a pair of counts for each axis of f64[2,3]; got 1"),
          invalid(
              "a negative count", {x},
              [](Inputs x) {
                return pad(x[0], {{0, 0}, {2, -1}});
              },
              "pad: counts must not be negative; got 2 and -1 for axis 1"),
          invalid(
              "overflow", {x},
              [](Inputs x) {
                return pad(x[0], {{most, 0}, {0, 0}});
              },
              "pad: axis 0 would have more than 2^63 elements")};
}

}  // namespace bobbin
