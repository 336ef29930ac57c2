// Collects the gradient of one tensor in a backward pass.
#include "autograd/cotangent.h"

#include <bobbin/elementwise.h>

#include <algorithm>

namespace bobbin {

void Cotangent::add(const Tensor& g) { total_ = total_ ? bobbin::add(total_, g) : g; }

// Whether the slices, in their present order, are the whole tensor, each element once.
bool Cotangent::make_up(const Shape& shape) const {
  std::int64_t next = 0;
  for (const auto& [slice, g] : slices_) {
    if (slice.axis != slices_[0].slice.axis || slice.step != 1 || slice.start != next) return false;
    next += slice.count;
  }
  return next == shape[slices_[0].slice.axis];
}

Tensor Cotangent::sum(const Shape& shape) {
  if (slices_.empty()) return std::move(total_);
  if (!total_) {
    std::ranges::stable_sort(slices_, {}, [](const Part& part) { return part.slice.start; });
    if (make_up(shape)) {
      std::vector<Tensor> grads;
      for (auto& part : slices_) grads.push_back(std::move(part.grad));
      return concat(grads, slices_[0].slice.axis);
    }
  }
  for (const auto& [slice, g] : slices_) {
    if (&slice == &slices_[0].slice) {
      add(slice.padded(g, shape));  // a new tensor, which the others may be added to in place
      continue;
    }
    Tensor there = slice.view(total_);
    there.copy_(bobbin::add(there, g));
  }
  return std::move(total_);
}

}  // namespace bobbin
