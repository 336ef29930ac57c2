// Merges the dimensions of strided tensors into as few as their strides allow.
#pragma once
#include <bobbin/shape.h>

#include <array>

namespace bobbin {

/// Dimensions that `count` tensors of one shape share, the innermost first. Neighbouring dimensions are
/// merged where the strides of all tensors allow it, and dimensions of size 1 are left out.
template<int count>
struct CollapsedDims {
  int rank = 0;
  std::int64_t size[max_rank] = {};
  std::int64_t stride[count][max_rank] = {};  ///< in elements, of each tensor

  /// Adds a dimension outside the others.
  constexpr void append(std::int64_t n, const std::array<std::int64_t, count>& strides) {
    if (n == 1) return;
    bool merges = rank > 0;
    for (std::size_t k = 0; k < count && merges; ++k)
      merges = strides[k] == stride[k][rank - 1] * size[rank - 1];
    if (merges) {
      size[rank - 1] *= n;
      return;
    }
    for (std::size_t k = 0; k < count; ++k) stride[k][rank] = strides[k];
    size[rank++] = n;
  }

  /// The sizes, and the strides of tensor k, the outermost dimension first.
  constexpr Shape shape() const { return outermost_first(size); }
  constexpr Strides strides(int k = 0) const { return outermost_first(stride[k]); }

 private:
  constexpr Dims outermost_first(const std::int64_t (&v)[max_rank]) const {
    Dims out;
    for (int d = rank - 1; d >= 0; --d) out.push_back(v[d]);
    return out;
  }
};

/// The stride of dimension d of `shape`, to which a tensor of these sizes and strides is broadcast.
constexpr std::int64_t broadcast_stride(const Shape& sizes, const Strides& strides, const Shape& shape,
                                        int d) {
  const int own = d - (shape.size() - sizes.size());
  return own < 0 || sizes[own] == 1 ? 0 : strides[own];
}

}  // namespace bobbin
