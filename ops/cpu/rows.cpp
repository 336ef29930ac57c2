// Runs kernels over rows in parallel, copying strided or narrow rows to a buffer and back.
#include "ops/cpu/rows.h"

#include <bobbin/parallel.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/ceil_div.h"
#include "core/strided_copy.h"

namespace bobbin {
namespace {

constexpr std::int64_t large = std::int64_t{8} << 20;  // bytes of a tensor that no cache holds

// The slices of contiguous tensors along one axis. With inner > 1, elements of one slice are `inner` apart,
// and those of neighbouring slices are adjacent: several slices are copied together, to use whole cache
// lines.
struct Slices {
  std::int64_t length, inner;
  DType compute;

  char* at(const Tensor& t, std::int64_t slice, std::int64_t i) const {
    const std::int64_t index = slice / inner * length * inner + i * inner + slice % inner;
    return t.raw<char>() + index * size_of(t.dtype());
  }
  void gather(const Tensor& t, std::int64_t slice, std::int64_t width, char* rows) const {
    if (inner == 1) return convert(t.dtype(), at(t, slice, 0), 1, compute, rows, width * length);
    for (std::int64_t w = 0; w < width; ++w)
      convert(t.dtype(), at(t, slice + w, 0), inner, compute, rows + w * length * size_of(compute), length);
  }
  void scatter(const char* rows, const Tensor& t, std::int64_t slice, std::int64_t width) const {
    if (inner == 1) return convert(compute, rows, 1, t.dtype(), at(t, slice, 0), width * length);
    for (std::int64_t w = 0; w < width; ++w) {
      const char* row = rows + w * length * size_of(compute);
      StridedView(t, {length}, {inner}, place(t, slice + w)).write(0, length, compute, row);
    }
  }
  std::int64_t place(const Tensor& t, std::int64_t slice) const {
    return t.offset() + slice / inner * length * inner + slice % inner;
  }
};

}  // namespace

void detail::for_rows(std::span<const Tensor> inputs, const Tensor& out, int axis, DType compute,
                      std::int64_t tile_elements, RowKernel kernel, void* f) {
  const Tensor& like = inputs[0];
  if (like.numel() == 0) return;
  std::int64_t inner = 1;
  for (int i = axis + 1; i < like.rank(); ++i) inner *= like.shape()[i];
  const Slices slices{like.rank() ? like.shape()[axis] : 1, inner, compute};
  const std::int64_t count = like.numel() / slices.length, row_bytes = slices.length * size_of(compute);
  const auto in_place = [&](const Tensor& t) { return t && inner == 1 && t.dtype() == compute; };

  // A tile is the slices of one task; it never contains slices of two outer indices. Without buffers it is
  // larger, because kernels overlap the work on one row with the work on the next; buffers must fit the
  // cache.
  std::int64_t width = std::max<std::int64_t>(1, tile_elements / slices.length);
  if (in_place(out) && std::all_of(inputs.begin(), inputs.end(), in_place))
    width = std::max<std::int64_t>(width, count / (16 * num_threads()));
  if (inner > 1) width = std::min(std::max<std::int64_t>(width, 16), inner);
  const std::int64_t across = inner > 1 ? inner : count;
  const std::int64_t tiles_across = ceil_div(across, width);

  parallel_for(count / across * tiles_across, [&](std::int64_t tile) {
    const std::int64_t begin = tile % tiles_across * width, n = std::min(width, across - begin);
    const std::int64_t first = tile / tiles_across * across + begin;
    std::size_t buffers = 0;
    for (const Tensor& x : inputs) buffers += !in_place(x);
    const Storage buffer(static_cast<std::size_t>(n * row_bytes) * (buffers + !in_place(out)), Device());

    // The rows of each operand, in the tensor or in a buffer.
    char* next = static_cast<char*>(buffer.data);
    const auto rows_of = [&](const Tensor& t) {
      return in_place(t) ? slices.at(t, first, 0) : std::exchange(next, next + n * row_bytes);
    };
    std::array<char*, 4> in{};
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      in[k] = rows_of(inputs[k]);
      if (!in_place(inputs[k])) slices.gather(inputs[k], first, n, in[k]);
    }
    char* const y = rows_of(out);
    kernel(
        f,
        {{in[0], in[1], in[2], in[3]}, y, first, n, row_bytes, in_place(out) && count * row_bytes >= large});
    if (out && !in_place(out)) slices.scatter(y, out, first, n);
  });
}

}  // namespace bobbin
