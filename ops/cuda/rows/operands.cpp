// Decides which inputs of the row engine are read in place, and copies the others.
#include "ops/cuda/rows/operands.h"

#include <cstdint>

#include "core/strided_copy.h"

namespace bobbin::cuda {
namespace {

// Whether the elements of each row along `axis` are neighbours in memory, and the distance between rows is
// constant (`pitch`). Axes after `axis` have one element.
bool rows_at_a_pitch(const Tensor& x, int axis, std::int64_t& pitch) {
  if (x.rank() && x.shape()[axis] > 1 && x.strides()[axis] != 1) return false;
  std::int64_t count = 1;
  for (int i = axis - 1; i >= 0; --i) {
    const std::int64_t n = x.shape()[i];
    if (n == 1) continue;
    if (count == 1) pitch = x.strides()[i];
    if (x.strides()[i] != pitch * count) return false;
    count *= n;
  }
  return true;
}

}  // namespace

RowOperands::RowOperands(std::span<const Tensor> inputs, const Tensor& out, int axis) : out_(out) {
  const Tensor& x = inputs[0];
  columns = x.rank() ? x.shape()[axis] : 1;
  for (int i = 0; i < axis; ++i) outer *= x.shape()[i];
  for (int i = axis + 1; i < x.rank(); ++i) inner *= x.shape()[i];
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    in_[k] = inputs[k];
    pitch[k] = columns;
    if (numel() == 0) continue;
    const bool aligned = reinterpret_cast<std::uintptr_t>(inputs[k].raw()) % 16 == 0;
    if (aligned && inputs[k].is_contiguous()) continue;
    std::int64_t row_pitch = 0;
    const std::int64_t pack_elements = 16 / size_of(x.dtype());
    if (aligned && inner == 1 && rows_at_a_pitch(inputs[k], axis, row_pitch) &&
        row_pitch % pack_elements == 0 && columns % pack_elements == 0)
      pitch[k] = row_pitch;
    else
      bobbin::copy_elements(inputs[k], in_[k] = empty(x.spec()));
  }
}

}  // namespace bobbin::cuda
