// Views, which share their input's storage and copy no elements; joining, splitting and padding. Axes count
// from the end when negative.
#pragma once
#include <bobbin/tensor.h>

#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

namespace bobbin {

/// The same elements in row-major order under another shape; one size may be -1. A view where strides allow,
/// else a copy. Throws ShapeError.
Tensor reshape(const Tensor&, const Shape&);
/// Merges the axes `first` to `last` (inclusive) into one.
Tensor flatten(const Tensor&, int first = 0, int last = -1);
/// Axis i of the result is axis order[i] of x.
Tensor permute(const Tensor&, const Axes& order);
/// Exchanges two axes; by default the last two.
Tensor transpose(const Tensor&, int a = -2, int b = -1);
/// Moves axis `from` to position `to`; the other axes keep their order.
Tensor movedim(const Tensor&, int from, int to);
/// Elements start, start + step, ... before stop of one axis; start and stop count from the end when negative
/// and are cut to the axis, as in Python. Throws ValueError unless step >= 1.
Tensor slice(const Tensor&, int axis, std::int64_t start, std::int64_t stop, std::int64_t step = 1);
/// The slice at one index of an axis; the result does not have this axis. Throws IndexError.
Tensor select(const Tensor&, int axis, std::int64_t index);
/// `length` elements of an axis from `start`. Throws IndexError if the axis does not have all of them.
Tensor narrow(const Tensor&, int axis, std::int64_t start, std::int64_t length);
/// Drops an axis of size 1. Throws ShapeError for another size.
Tensor squeeze(const Tensor&, int axis);
/// Drops all axes of size 1.
Tensor squeeze(const Tensor&);
/// Adds an axis of size 1, which is axis `axis` of the result.
Tensor unsqueeze(const Tensor&, int axis);
/// Repeats axes of size 1 (stride 0), and adds axes in front, up to `shape`; -1 keeps a size.
Tensor expand(const Tensor&, const Shape&);

/// x itself if it is row-major, else a row-major copy.
Tensor contiguous(const Tensor&);
/// A copy with new storage. It is recorded, so the gradient flows to x.
Tensor clone(const Tensor&);

/// Joins tensors along an axis; their other sizes and dtypes are equal. Throws ShapeError, DTypeError, and
/// ValueError for an empty list.
Tensor concat(std::span<const Tensor>, int axis = 0);
/// The same for tensors in braces.
inline Tensor concat(std::initializer_list<Tensor> x, int axis = 0) {
  return concat({x.begin(), x.size()}, axis);
}
/// Joins tensors of one shape along a new axis.
Tensor stack(std::span<const Tensor>, int axis = 0);
/// The same for tensors in braces.
inline Tensor stack(std::initializer_list<Tensor> x, int axis = 0) {
  return stack({x.begin(), x.size()}, axis);
}
/// Divides an axis into views of `size` elements; the last may be smaller. Throws ValueError unless size
/// >= 1.
std::vector<Tensor> split(const Tensor&, std::int64_t size, int axis = 0);
/// Surrounds x with `value`: pads[i] elements before and after axis i. Throws ValueError on a negative count.
Tensor pad(const Tensor&, std::span<const std::pair<std::int64_t, std::int64_t>> pads, double value = 0);
/// The same for counts in braces.
inline Tensor pad(const Tensor& x, std::initializer_list<std::pair<std::int64_t, std::int64_t>> p,
                  double value = 0) {
  return pad(x, {p.begin(), p.size()}, value);
}

}  // namespace bobbin
