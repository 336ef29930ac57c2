// Scalar references of operations: what an operation computes, written down as plain mathematics over any
// type of number, apart from its kernels. On dual numbers they give derivatives that share nothing with the
// operation's own.
#pragma once
#include <bobbin/op.h>

#include <memory>
#include <span>
#include <vector>

#include "autograd/gradcheck/dual.h"

namespace bobbin::gradcheck_detail {

using First = Dual<Rounded>;
using Second = Dual<Dual<Rounded>>;

/// An operation as cells that do not depend on each other: one is an element of an elementwise operation, a
/// row of softmax, a slice that is reduced. Cells that share an output add to it.
struct Cell {
  struct Slot {
    int input;
    std::int64_t element;
  };
  std::vector<Slot> in;  ///< floating inputs alone; what else the cell reads is in the reference itself
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

/// The flat indices of a tensor of this shape slice by slice: each slice runs over the axes `along` in
/// row-major order, and the slices over the others.
std::vector<std::vector<std::int64_t>> slices(const Shape&, const Axes& along);
/// For each element of `to` the flat index of the one of `from` that broadcasting puts there.
std::vector<std::int64_t> broadcast_indices(const Shape& from, const Shape& to);

/// The reference of an operation on these inputs; null where it has none here.
std::unique_ptr<Reference> reference_of(const OpBase&, Inputs);
std::unique_ptr<Reference> elementwise_reference(const OpBase&, Inputs);
std::unique_ptr<Reference> row_reference(const OpBase&, Inputs);  // softmax family and cross-entropy
std::unique_ptr<Reference> reduction_reference(const OpBase&, Inputs);

/// The operation itself where its type is erased; null if it is another.
template<class Op>
const Op* as(const OpBase& op) {
  const auto* model = dynamic_cast<const detail::OpModel<Op>*>(&op);
  return model ? &model->op() : nullptr;
}

}  // namespace bobbin::gradcheck_detail
