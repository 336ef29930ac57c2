// Joining, padding, and picking by index. Index tensors are i64; an index outside its axis throws IndexError.
#pragma once
#include <bobbin/tensor.h>

#include <span>
#include <utility>
#include <vector>

namespace bobbin {

/// Joins tensors that agree on every other axis. Throws ShapeError, DTypeError, and ValueError for none.
Tensor concat(std::span<const Tensor>, int axis = 0);
/// The same of tensors in braces.
inline Tensor concat(std::initializer_list<Tensor> x, int axis = 0) {
  return concat({x.begin(), x.size()}, axis);
}
/// Joins tensors of one shape along a new axis.
Tensor stack(std::span<const Tensor>, int axis = 0);
/// The same of tensors in braces.
inline Tensor stack(std::initializer_list<Tensor> x, int axis = 0) {
  return stack({x.begin(), x.size()}, axis);
}
/// Views of `size` elements of an axis each; the last may be smaller. Throws ValueError unless size >= 1.
std::vector<Tensor> split(const Tensor&, std::int64_t size, int axis = 0);
/// Surrounds x with `value`: pads[i] elements before and after axis i. Throws ValueError on a negative count.
Tensor pad(const Tensor&, std::span<const std::pair<std::int64_t, std::int64_t>> pads, double value = 0);
/// The same of counts in braces.
inline Tensor pad(const Tensor& x, std::initializer_list<std::pair<std::int64_t, std::int64_t>> p,
                  double value = 0) {
  return pad(x, {p.begin(), p.size()}, value);
}

/// Slices index[0], index[1], ... of an axis, for a 1-dimensional index.
Tensor index_select(const Tensor&, int axis, const Tensor& index);
/// A copy of x with slice i of `source` added to slice index[i]; repeated indices add up, in order.
Tensor index_add(const Tensor& x, int axis, const Tensor& index, const Tensor& source);
/// out[i][j][k] = x[i][index[i][j][k]][k] for axis 1, and so on; index has x's rank, and is no larger than x
/// on the other axes.
Tensor gather(const Tensor&, int axis, const Tensor& index);
/// A copy of x with source[i][j][k] added to [i][index[i][j][k]][k] for axis 1, and so on, in order.
Tensor scatter_add(const Tensor& x, int axis, const Tensor& index, const Tensor& source);
/// Rows of weight [V, D] for an index of any shape: [..., D].
Tensor embedding(const Tensor& weight, const Tensor& index);
/// [...] -> [..., classes], 1 at the index and 0 elsewhere. Throws ValueError unless classes >= 1.
Tensor one_hot(const Tensor& index, std::int64_t classes, DType = DType::i64);

}  // namespace bobbin
