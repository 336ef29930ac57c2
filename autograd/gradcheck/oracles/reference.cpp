// Which elements a cell of a reference takes, and the choice of the reference.
#include "autograd/gradcheck/oracles/reference.h"

namespace bobbin::gradcheck_detail {

std::vector<std::vector<std::int64_t>> slices(const Shape& shape, const Axes& along) {
  const Strides strides = contiguous_strides(shape);
  // Flat offsets of all positions on the axes that are in `along`, or of those that are not.
  const auto offsets = [&](bool inside) {
    std::vector<std::int64_t> out{0};
    for (int i = 0; i < shape.size(); ++i) {
      if (along.contains(i) != inside) continue;
      std::vector<std::int64_t> longer;
      for (const std::int64_t base : out)
        for (std::int64_t k = 0; k < shape[i]; ++k) longer.push_back(base + k * strides[i]);
      out = std::move(longer);
    }
    return out;
  };
  std::vector<std::vector<std::int64_t>> out;
  const auto inner = offsets(true);
  for (const std::int64_t base : offsets(false)) {
    out.emplace_back();
    for (const std::int64_t k : inner) out.back().push_back(base + k);
  }
  return out;
}

std::vector<std::int64_t> broadcast_indices(const Shape& from, const Shape& to) {
  const Strides strides = contiguous_strides(from);
  std::vector<std::int64_t> out{0};
  for (int i = 0; i < to.size(); ++i) {
    const int j = i - (to.size() - from.size());
    const std::int64_t step = j >= 0 && from[j] != 1 ? strides[j] : 0;
    std::vector<std::int64_t> longer;
    for (const std::int64_t base : out)
      for (std::int64_t k = 0; k < to[i]; ++k) longer.push_back(base + k * step);
    out = std::move(longer);
  }
  return out;
}

std::unique_ptr<Reference> reference_of(const OpBase& op, Inputs x) {
  for (const Tensor& t : x)
    if (t && is_floating(t.dtype()) && (t.dtype() != DType::f64 || t.device() != Device::cpu()))
      return nullptr;
  for (const auto make : {elementwise_reference, row_reference, reduction_reference})
    if (auto found = make(op, x)) return found;
  return nullptr;
}

}  // namespace bobbin::gradcheck_detail
