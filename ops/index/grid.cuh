// What the index kernels share: finding their way about, and reporting an index outside its axis.
#pragma once
#include "core/cuda/fault.h"
#include "core/cuda/strided.cuh"

namespace bobbin::index_grid {

/// Divides positions of [0, limit).
struct Quotient {
  std::int64_t divisor;
  bool narrow;
  cuda::Divider by;

  Quotient(std::int64_t divisor, std::int64_t limit)
      : divisor(divisor),
        narrow(limit <= std::int64_t{1} << 31),
        by(narrow ? static_cast<std::uint32_t>(divisor) : 1) {}
  __device__ std::int64_t operator()(std::int64_t n) const {
    return narrow ? by(static_cast<std::uint32_t>(n)) : n / divisor;
  }
};

/// Where a position lies in the two tensors of a walk, counted from their beginnings.
struct Place {
  std::int64_t x, index;
  __device__ Place(const cuda::StridedIndex<2>& walk, std::int64_t position) {
    std::int64_t at[2];
    walk(position, at);
    x = at[0];
    index = at[1];
  }
};

/// x and index seen in one shape, with given strides.
inline cuda::StridedIndex<2> walk(const Shape& shape, const Tensor& x, const Strides& x_strides,
                                  const Tensor& index, const Strides& index_strides) {
  const Tensor a = x.alias(shape, x_strides, x.offset()),
               b = index.alias(shape, index_strides, index.offset());
  return cuda::StridedIndex<2>(shape, {&a, &b});
}

__device__ inline bool inside(std::int64_t i, std::int64_t size) {
  return static_cast<std::uint64_t>(i) < static_cast<std::uint64_t>(size);
}

/// A kernel's way to report an index outside its axis once, though it stands for many elements: by the first
/// of its `inner` elements, where those of all `indices` come first.
struct Outside {
  cuda::FaultReporter report;
  std::int64_t inner, indices;
  __device__ void operator()(std::int64_t element, std::int64_t value) const {
    if (element % inner == 0 && element / inner < indices) report(element / inner, value);
  }
};

/// Looks at an index whose elements name no element: only reports what is outside [0, size). ops/index.cu
void check_indices(const char* op, const Tensor& index, std::int64_t size);

}  // namespace bobbin::index_grid
