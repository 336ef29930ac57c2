// Moves arrays of elements between strides and converts them between dtypes, on the CPU.
#pragma once
#include <bobbin/dtype.h>

namespace bobbin {

/// Elements per block of a loop: three arrays of this many doubles stay in the L1 cache.
inline constexpr std::int64_t block_size = 1024;

/// Converts n elements, `stride` elements apart at the source, to `to`, as core/cast.h's `cast` does. Source
/// and target do not overlap.
void convert(DType from, const void* source, std::int64_t stride, DType to, void* target, std::int64_t n);

/// Whether elements of dtype d can be in the range of x: always for floating dtypes; for integers and bool, x
/// is finite, and the integer that is left of it without its fraction lies in the dtype's range.
bool in_range(DType d, double x);
/// Whether an element of dtype d can be the number x. Floating dtypes round, so they hold any number.
bool can_hold(DType d, double x);

/// Copies n elements of `size` bytes (1, 2, 4 or 8) that are `stride` elements apart to a contiguous array.
void gather(std::int64_t size, const void* source, std::int64_t stride, void* target, std::int64_t n);
/// Copies a contiguous array of n elements of `size` bytes to addresses that are `stride` elements apart.
void scatter(std::int64_t size, const void* source, void* target, std::int64_t stride, std::int64_t n);

/// Calls f with a zero of the unsigned integer of `size` bytes: 1, 2, 4 or 8.
template<class F>
void visit_word(std::int64_t size, F&& f) {
  switch (size) {
    case 1:
      return f(std::uint8_t{});
    case 2:
      return f(std::uint16_t{});
    case 4:
      return f(std::uint32_t{});
    default:
      return f(std::uint64_t{});
  }
}

}  // namespace bobbin
