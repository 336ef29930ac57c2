// Offsets of the elements of strided tensors, computed on the GPU: a linear index is divided by the sizes, by
// multiplications instead of divisions.
#pragma once
#include <bobbin/tensor.h>

#include <array>
#include <bit>
#include <cstdint>

#include "core/collapse.h"

namespace bobbin::cuda {

/// n / d for 32-bit numbers: Granlund and Montgomery, "Division by invariant integers using multiplication"
/// (PLDI 1994), with the multiplier of 33 bits whose top bit is implied.
struct Divider {
  std::uint32_t d = 1, magic = 0, shift = 0;
  Divider() = default;
  explicit Divider(std::uint32_t divisor) : d(divisor) {
    shift = static_cast<std::uint32_t>(std::bit_width(d - 1));
    magic =
        static_cast<std::uint32_t>(((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift) - d)) / d + 1);
  }
#ifdef __CUDACC__
  __device__ std::uint32_t operator()(std::uint32_t n) const {
    const std::uint64_t high = __umulhi(n, magic);
    return static_cast<std::uint32_t>((high + n) >> shift);
  }
#endif
};

/// The offsets of element i of `count` tensors, all broadcast to one shape; i counts in row-major order. The
/// same as PyTorch's OffsetCalculator.
template<int count>
struct StridedIndex : CollapsedDims<count> {
  using CollapsedDims<count>::rank, CollapsedDims<count>::size, CollapsedDims<count>::stride;
  bool narrow = true;  ///< indices fit in 31 bits
  std::int64_t numel = 1;
  Divider by[max_rank];  ///< by the sizes, where narrow

  StridedIndex(const Shape& shape, const std::array<const Tensor*, count>& x) : numel(bobbin::numel(shape)) {
    narrow = numel < (std::int64_t{1} << 31);
    for (int d = shape.size() - 1; d >= 0; --d) {
      std::array<std::int64_t, count> strides;
      for (std::size_t k = 0; k < count; ++k)
        strides[k] = broadcast_stride(x[k]->shape(), x[k]->strides(), shape, d);
      this->append(shape[d], strides);
    }
    if (narrow && numel > 0)
      for (int d = 0; d < rank; ++d) by[d] = Divider(static_cast<std::uint32_t>(size[d]));
  }
  bool contiguous(int k) const { return rank == 0 || (rank == 1 && stride[k][0] == 1); }
  bool constant(int k) const {
    for (int d = 0; d < rank; ++d)
      if (stride[k][d] != 0) return false;
    return true;
  }

#ifdef __CUDACC__
  /// Offsets of element i of each tensor from its first.
  __device__ void operator()(std::int64_t i, std::int64_t (&at)[count]) const {
    for (int k = 0; k < count; ++k) at[k] = 0;
    if (narrow) {
      auto rest = static_cast<std::uint32_t>(i);
      for (int d = 0; d < rank; ++d) {
        const std::uint32_t next = d + 1 < rank ? by[d](rest) : 0;
        const std::int64_t here = rest - next * static_cast<std::uint32_t>(size[d]);
        rest = next;
#pragma unroll
        for (int k = 0; k < count; ++k) at[k] += here * stride[k][d];
      }
    } else {
      for (int d = 0; d < rank; ++d) {
        const std::int64_t next = d + 1 < rank ? i / size[d] : 0, here = i - next * size[d];
        i = next;
#pragma unroll
        for (int k = 0; k < count; ++k) at[k] += here * stride[k][d];
      }
    }
  }
#endif
};

}  // namespace bobbin::cuda
