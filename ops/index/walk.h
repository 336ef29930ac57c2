// How the kernels of ops/index.cpp walk over index tensors. CPU only.
#pragma once
#include <bobbin/parallel.h>
#include <bobbin/tensor.h>

#include <algorithm>
#include <type_traits>

#include "core/ceil_div.h"
#include "core/strided_copy.h"
#include "ops/check.h"

namespace bobbin::index_walk {

inline constexpr std::int64_t tile_elements = 16 * block_size;

template<class F>
void for_tiles(std::int64_t count, std::int64_t tile, F&& f) {
  parallel_for(ceil_div(count, tile), [&](std::int64_t t) { f(t * tile, std::min(count, (t + 1) * tile)); });
}

// The indices, all of them in [0, size).
inline const std::int64_t* checked(std::string_view op, const Tensor& index, std::int64_t size) {
  const auto v = index.data<std::int64_t>();
  std::int64_t outside = 0;  // counted without a branch, which is quick; then looked for
  for (auto i : v) outside += i < 0 || i >= size;
  if (outside == 0) return v.data();
  const auto bad = std::find_if(v.begin(), v.end(), [size](auto i) { return i < 0 || i >= size; });
  fail<IndexError>(op, ": index ", *bad, " at flat position ", bad - v.begin(), " is outside [0,", size, ")");
}

// Offsets of the coordinates of axes [first, last) of `shape`, in row-major order.
inline std::vector<std::int64_t> offsets(const Shape& shape, const Strides& strides, int first, int last) {
  std::vector<std::int64_t> at{0};
  for (int axis = first; axis < last; ++axis) {
    std::vector<std::int64_t> next;
    next.reserve(at.size() * static_cast<std::size_t>(shape[axis]));
    for (auto base : at)
      for (std::int64_t i = 0; i < shape[axis]; ++i) next.push_back(base + i * strides[axis]);
    at = std::move(next);
  }
  return at;
}

// An index tensor's coordinates (outer, along the axis, inner), and where those beside the axis lie in a
// tensor.
struct Grid {
  std::vector<std::int64_t> outer, inner;
  std::int64_t length, stride, width;  // of the axis; its stride in the tensor; inner.size()

  Grid(const Shape& shape, const Strides& strides, int axis)
      : outer(offsets(shape, strides, 0, axis)),
        inner(offsets(shape, strides, axis + 1, shape.size())),
        length(shape[axis]),
        stride(strides[axis]),
        width(std::ssize(inner)) {}
};

// Calls f with the size where it is a power of two up to 8, else with 0: a memcpy of a known size is one
// move.
template<class F>
void visit_bytes(std::int64_t bytes, F&& f) {
  switch (bytes) {
    case 1:
      return f(std::integral_constant<std::int64_t, 1>());
    case 2:
      return f(std::integral_constant<std::int64_t, 2>());
    case 4:
      return f(std::integral_constant<std::int64_t, 4>());
    case 8:
      return f(std::integral_constant<std::int64_t, 8>());
    default:
      return f(std::integral_constant<std::int64_t, 0>());
  }
}

// Calls f(outer, first, n) for runs of inner coordinates. Only one call gets to add to what belongs to a pair
// of outer and inner coordinates, and it goes along the axis: so sums have one order.
template<class F>
void for_columns(std::int64_t outer, std::int64_t length, std::int64_t inner, F&& f) {
  const std::int64_t tile = std::max<std::int64_t>(64, tile_elements / std::max<std::int64_t>(1, length));
  for_tiles(outer * inner, tile, [&](std::int64_t c, std::int64_t end) {
    std::int64_t o = c / inner, first = c % inner;
    for (std::int64_t n; c < end; c += n, ++o, first = 0) {
      n = std::min(inner - first, end - c);
      f(o, first, n);
    }
  });
}

// y = x, then add(Type<T>, sums), where `sums` points at y's elements, or at f32 copies of 16-bit ones.
template<class F>
void add_to_copy(const Tensor& x, const Tensor& y, F&& add) {
  const DType type = compute_type(x.dtype());
  const Tensor sums = type == x.dtype() ? y : empty(x.shape(), type);
  const auto run = [&]<class T>(Type<T>) {
    using Sum = std::conditional_t<is_16bit_float<T>, float, T>;
    if constexpr (!std::is_same_v<T, bool>) add(Type<T>(), sums.raw<Sum>());
  };
  copy_elements(x, sums);
  visit(x.dtype(), run);
  if (type != x.dtype()) copy_elements(sums, y);
}

}  // namespace bobbin::index_walk
