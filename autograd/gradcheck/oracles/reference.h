// Scalar references of operations: plain mathematics over any type of number, independent of the kernels. On
// dual numbers they give derivatives that share no code with the operation's derivative.
#pragma once
#include <bobbin/op.h>

#include <memory>
#include <span>
#include <vector>

#include "autograd/gradcheck/oracles/dual_number.h"

namespace bobbin::gradcheck_detail {

using First = Dual<Rounded>;
using Second = Dual<Dual<Rounded>>;

/// A part of an operation that depends on no other part: an element of an elementwise operation, a row of
/// softmax, a slice that is reduced. Cells that share an output add to it.
struct Cell {
  struct Slot {
    int input;
    std::int64_t element;
  };
  std::vector<Slot> in;  ///< elements of floating inputs; the reference holds integers and masks
  std::vector<std::int64_t> out;
};

class Reference {
 public:
  explicit Reference(std::vector<Cell> cells) : cells(std::move(cells)) {}
  virtual ~Reference() = default;
  virtual void eval(std::size_t cell, std::span<const First> in, std::span<First> out) const = 0;
  virtual void eval(std::size_t cell, std::span<const Second> in, std::span<Second> out) const = 0;
  const std::vector<Cell> cells;
};

/// f(cell, in, out) for any number type.
template<class F>
class ReferenceOf final : public Reference {
 public:
  ReferenceOf(std::vector<Cell> cells, F f) : Reference(std::move(cells)), f_(std::move(f)) {}
  void eval(std::size_t c, std::span<const First> in, std::span<First> out) const override { f_(c, in, out); }
  void eval(std::size_t c, std::span<const Second> in, std::span<Second> out) const override {
    f_(c, in, out);
  }

 private:
  F f_;
};
template<class F>
std::unique_ptr<Reference> reference(std::vector<Cell> cells, F f) {
  return std::make_unique<ReferenceOf<F>>(std::move(cells), std::move(f));
}

/// The flat indices of a tensor of this shape, one list per slice: the elements of a slice run over the axes
/// `along` in row-major order, and the slices over the other axes.
std::vector<std::vector<std::int64_t>> slices(const Shape&, const Axes& along);
/// For each element of `to`, the flat index of the element of `from` that broadcasting puts there.
std::vector<std::int64_t> broadcast_indices(const Shape& from, const Shape& to);

/// The reference of an operation on these inputs; null if it has none.
std::unique_ptr<Reference> reference_of(const OpBase&, Inputs);
std::unique_ptr<Reference> elementwise_reference(const OpBase&, Inputs);
std::unique_ptr<Reference> row_reference(const OpBase&, Inputs);  // softmax family and cross-entropy
std::unique_ptr<Reference> reduction_reference(const OpBase&, Inputs);
std::unique_ptr<Reference> norm_reference(const OpBase&, Inputs);
std::unique_ptr<Reference> attention_reference(const OpBase&, Inputs);

/// A type-erased operation as an Op; null if it is of another type.
template<class Op>
const Op* as(const OpBase& op) {
  const auto* model = dynamic_cast<const detail::OpModel<Op>*>(&op);
  return model ? &model->op() : nullptr;
}

}  // namespace bobbin::gradcheck_detail
