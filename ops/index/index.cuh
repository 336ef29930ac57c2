// What the index kernels share: offsets of elements, and reports of an index outside its axis.
#pragma once
#include "core/cuda/fault.h"
#include "core/cuda/strided.cuh"

namespace bobbin::indexing {

/// Divides numbers in [0, limit) by `divisor`: by a multiplication where they fit in 32 bits.
struct Division {
  std::int64_t divisor;
  bool narrow;
  cuda::Divider by;

  Division(std::int64_t divisor, std::int64_t limit)
      : divisor(divisor),
        narrow(limit <= std::int64_t{1} << 31),
        by(narrow ? static_cast<std::uint32_t>(divisor) : 1) {}
  __device__ std::int64_t operator()(std::int64_t n) const {
    return narrow ? by(static_cast<std::uint32_t>(n)) : n / divisor;
  }
};

/// Offsets of an element, given by its row-major position, in the two tensors of a StridedIndex.
struct Offsets {
  std::int64_t x, index;
  __device__ Offsets(const cuda::StridedIndex<2>& strided, std::int64_t position) {
    std::int64_t at[2];
    strided(position, at);
    x = at[0];
    index = at[1];
  }
};

/// x and index in one shape, with the given strides.
inline cuda::StridedIndex<2> strided_index(const Shape& shape, const Tensor& x, const Strides& x_strides,
                                           const Tensor& index, const Strides& index_strides) {
  const Tensor a = x.alias(shape, x_strides, x.offset()),
               b = index.alias(shape, index_strides, index.offset());
  return cuda::StridedIndex<2>(shape, {&a, &b});
}

__device__ inline bool inside(std::int64_t i, std::int64_t size) {
  return static_cast<std::uint64_t>(i) < static_cast<std::uint64_t>(size);
}

/// Reports an index outside its axis. Each of the `indices` belongs to `inner` consecutive elements, and may
/// be repeated for elements after those: only the first of its elements reports it.
struct OutsideReporter {
  cuda::FaultReporter report;
  std::int64_t inner, indices;
  __device__ void operator()(std::int64_t element, std::int64_t value) const {
    if (element % inner == 0 && element / inner < indices) report(element / inner, value);
  }
};

/// Reports indices outside [0, size) where there is no element to pick or add. In cuda.cu.
void check_indices(const char* op, const Tensor& index, std::int64_t size);

}  // namespace bobbin::indexing
