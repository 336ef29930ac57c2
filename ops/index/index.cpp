// Picking and adding by index: checks, derivatives and the public functions.
#include "ops/index/index.h"

#include <bobbin/elementwise.h>
#include <bobbin/view.h>

#include "ops/check.h"

namespace bobbin {
namespace {

void require_vector(std::string_view op, const Tensor& index) {
  require_index(op, index);
  if (index.rank() != 1) fail<ShapeError>(op, ": expected a 1-dimensional index; got ", index.spec());
}

void require_numbers(std::string_view op, const Tensor& x) {
  if (x.dtype() == DType::boolean)
    fail<DTypeError>(op, ": expected numbers; got ", x.spec(), "; convert it with to(x, DType)");
}

void require_index_fits(std::string_view op, const Tensor& x, const Tensor& index, int axis) {
  require_index(op, index);
  bool fits = index.rank() == x.rank();
  for (int i = 0; fits && i < x.rank(); ++i) fits = i == axis || index.shape()[i] <= x.shape()[i];
  if (!fits)
    fail<ShapeError>(op, ": the index must have x's rank and be no larger than x but on axis ", axis,
                     "; got ", x.spec(), " and ", index.spec());
}

// Zeros of input 0's shape to add gradients to: one element, expanded.
Tensor expanded_zeros(const Vjp& v) { return expand(scalar(0, v.grad), v.spec(0).shape); }

}  // namespace

TensorSpec IndexSelect::infer(Inputs x) const {
  require_vector(name, x[1]);
  Shape shape = x[0].shape();
  shape[axis] = x[1].numel();
  return {shape, x[0].dtype(), x[0].device()};
}

Grads IndexSelect::vjp(const Vjp& v) const {
  return {index_add(expanded_zeros(v), axis, v.input(1), v.grad), {}};
}

TensorSpec IndexAdd::infer(Inputs x) const {
  require_vector(name, x[1]);
  require_numbers(name, x[0]);
  require_same_dtype(name, x[0], x[2]);
  Shape shape = x[0].shape();
  shape[axis] = x[1].numel();
  if (x[2].shape() != shape)
    fail<ShapeError>(name, ": expected a source of shape ", shape, "; got ", x[2].spec());
  return x[0].spec();
}

Grads IndexAdd::vjp(const Vjp& v) const {
  return {v.needs(0) ? v.grad : Tensor(), {}, v.needs(2) ? index_select(v.grad, axis, v.input(1)) : Tensor()};
}

TensorSpec Gather::infer(Inputs x) const {
  require_index_fits(name, x[0], x[1], axis);
  return {x[1].shape(), x[0].dtype(), x[0].device()};
}

Grads Gather::vjp(const Vjp& v) const {
  return {scatter_add(expanded_zeros(v), axis, v.input(1), v.grad), {}};
}

TensorSpec ScatterAdd::infer(Inputs x) const {
  require_index_fits(name, x[0], x[1], axis);
  require_numbers(name, x[0]);
  require_same_dtype(name, x[0], x[2]);
  if (x[1].shape() != x[2].shape())
    fail<ShapeError>(name, ": index and source must agree in shape; got ", x[1].spec(), " and ", x[2].spec());
  return x[0].spec();
}

Grads ScatterAdd::vjp(const Vjp& v) const {
  return {v.needs(0) ? v.grad : Tensor(), {}, v.needs(2) ? gather(v.grad, axis, v.input(1)) : Tensor()};
}

TensorSpec OneHot::infer(Inputs x) const {
  require_index(name, x[0]);
  if (classes < 1) fail<ValueError>(name, ": expected at least 1 class; got ", classes);
  Shape shape = x[0].shape();
  shape.push_back(classes);
  return {shape, dtype, x[0].device()};
}

Tensor index_select(const Tensor& x, int axis, const Tensor& index) {
  return record(IndexSelect{normalize_axis("index_select", axis, x.rank())}, {x, index});
}
Tensor index_add(const Tensor& x, int axis, const Tensor& index, const Tensor& source) {
  return record(IndexAdd{normalize_axis("index_add", axis, x.rank())}, {x, index, source});
}
Tensor gather(const Tensor& x, int axis, const Tensor& index) {
  return record(Gather{normalize_axis("gather", axis, x.rank())}, {x, index});
}
Tensor scatter_add(const Tensor& x, int axis, const Tensor& index, const Tensor& source) {
  return record(ScatterAdd{normalize_axis("scatter_add", axis, x.rank())}, {x, index, source});
}
Tensor one_hot(const Tensor& index, std::int64_t classes, DType dtype) {
  return record(OneHot{classes, dtype}, {index});
}

Tensor embedding(const Tensor& weight, const Tensor& index) {
  require_index("embedding", index);
  if (weight.rank() != 2)
    fail<ShapeError>("embedding: expected a weight of 2 dimensions; got ", weight.spec());
  Shape shape = index.shape();
  shape.push_back(weight.size(1));
  return reshape(index_select(weight, 0, flatten(index)), shape);
}

}  // namespace bobbin
