// Picking and adding by index. Index tensors are i64; an index outside its axis throws IndexError.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin {

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
