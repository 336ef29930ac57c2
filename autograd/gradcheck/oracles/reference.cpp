// The elements of each cell of a reference, and the choice of the reference.
#include "autograd/gradcheck/oracles/reference.h"

namespace bobbin::gradcheck_detail {

namespace {

// The flat offsets of all positions, in row-major order.
std::vector<std::int64_t> offsets(const Shape& sizes, const Strides& strides) {
  std::vector<std::int64_t> out{0};
  for (int i = 0; i < sizes.size(); ++i) {
    std::vector<std::int64_t> longer;
    for (const std::int64_t base : out)
      for (std::int64_t k = 0; k < sizes[i]; ++k) longer.push_back(base + k * strides[i]);
    out = std::move(longer);
  }
  return out;
}

}  // namespace

std::vector<std::vector<std::int64_t>> slices(const Shape& shape, const Axes& along) {
  Shape inside = shape, outside = shape;
  for (int i = 0; i < shape.size(); ++i) (along.contains(i) ? outside : inside)[i] = 1;
  const Strides strides = contiguous_strides(shape);
  const auto inner = offsets(inside, strides);
  std::vector<std::vector<std::int64_t>> out;
  for (const std::int64_t base : offsets(outside, strides)) {
    out.emplace_back();
    for (const std::int64_t k : inner) out.back().push_back(base + k);
  }
  return out;
}

std::vector<std::int64_t> broadcast_indices(const Shape& from, const Shape& to) {
  const Strides own = contiguous_strides(from);
  Strides strides = contiguous_strides(to);
  for (int i = 0; i < to.size(); ++i) {
    const int j = i - (to.size() - from.size());
    strides[i] = j >= 0 && from[j] != 1 ? own[j] : 0;
  }
  return offsets(to, strides);
}

std::unique_ptr<Reference> reference_of(const OpBase& op, Inputs x) {
  for (const Tensor& t : x)
    if (t && is_floating(t.dtype()) && (t.dtype() != DType::f64 || t.device() != Device::cpu()))
      return nullptr;
  for (const auto make :
       {elementwise_reference, row_reference, reduction_reference, norm_reference, attention_reference})
    if (auto found = make(op, x)) return found;
  return nullptr;
}

}  // namespace bobbin::gradcheck_detail
