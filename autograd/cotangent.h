// The gradient of a backward pass with respect to one tensor, while it is collected.
#pragma once
#include <bobbin/tensor.h>

#include <vector>

#include "ops/view/view.h"

namespace bobbin {

/// A sum of terms. Terms of slices of the tensor are kept as they are: slices that make up the whole tensor,
/// as the steps of a sequence do, are joined once, and others are added to their elements alone.
class Cotangent {
 public:
  /// Adds a term of the whole tensor; recorded if gradients are.
  void add(const Tensor& g);
  /// Adds the gradient of a slice, which is not the whole tensor. Nothing is recorded.
  void add(const Slice& slice, const Tensor& g) { slices_.push_back({slice, g}); }
  /// The sum, for a tensor of this shape. Called once.
  Tensor sum(const Shape& shape);

 private:
  struct Part {
    Slice slice;
    Tensor grad;
  };
  bool make_up(const Shape&) const;
  Tensor total_;
  std::vector<Part> slices_;
};

}  // namespace bobbin
