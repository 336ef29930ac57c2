// Runs kernels over rows in parallel, copying strided or narrow rows to a buffer and back.
#include "ops/cpu/rows.h"

#include <bobbin/parallel.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/ceil_div.h"
#include "core/convert.h"
#include "ops/cpu/vectors.h"

namespace bobbin {
namespace {

constexpr std::int64_t buffer_elements = 1 << 17;      // of an operand of a tile of strided rows
constexpr std::int64_t large = std::int64_t{8} << 20;  // bytes of a tensor that no cache holds

// Copies the matrix `from` of rows x cols elements, whose rows are `stride` elements apart, to the rows of
// its transpose, which are `apart` elements apart.
template<class T>
void transpose(const T* from, std::int64_t stride, std::int64_t rows, std::int64_t cols, T* to,
               std::int64_t apart) {
  constexpr std::int64_t n = simd::register_lanes<T>;
  const std::int64_t whole_rows = rows / n * n, whole_cols = cols / n * n;
  for (std::int64_t r = 0; r < whole_rows; r += n)
    for (std::int64_t c = 0; c < whole_cols; c += n) {
      typename simd::Vector<T>::Part square[n];
#pragma GCC unroll 16
      for (std::int64_t k = 0; k < n; ++k) square[k] = simd::load_register(from + (r + k) * stride + c);
      simd::transpose(square);
#pragma GCC unroll 16
      for (std::int64_t k = 0; k < n; ++k) simd::store_register(to + (c + k) * apart + r, square[k]);
    }
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = r < whole_rows ? whole_cols : 0; c < cols; ++c)
      to[c * apart + r] = from[r * stride + c];
}

// The slices of contiguous tensors along one axis. With inner > 1, elements of one slice are `inner` apart,
// and those of neighbouring slices are adjacent: several slices are copied together, to use whole cache
// lines and registers.
struct Slices {
  std::int64_t length, inner;
  DType compute;

  char* at(const Tensor& t, std::int64_t slice, std::int64_t i) const {
    const std::int64_t index = slice / inner * length * inner + i * inner + slice % inner;
    return t.raw<char>() + index * size_of(t.dtype());
  }
  /// Copies `width` slices of t to rows that are row_bytes apart.
  void gather(const Tensor& t, std::int64_t slice, std::int64_t width, char* rows,
              std::int64_t row_bytes) const {
    if (inner == 1) return convert(t.dtype(), at(t, slice, 0), 1, compute, rows, width * length);
    visit_some<double, float>(compute, [&]<class T>(Type<T>) {
      const std::int64_t apart = row_bytes / size_of(compute);
      each_strip<T>(t, width, [&](std::int64_t i, std::int64_t n, T* strip) {
        const T* from = reinterpret_cast<const T*>(at(t, slice, i));
        std::int64_t stride = inner;
        if (t.dtype() != compute) {
          for (std::int64_t k = 0; k < n; ++k)
            convert(t.dtype(), at(t, slice, i + k), 1, compute, strip + k * width, width);
          from = strip;
          stride = width;
        }
        transpose<T>(from, stride, n, width, reinterpret_cast<T*>(rows) + i, apart);
      });
    });
  }
  /// Copies such rows to `width` slices of t.
  void scatter(const char* rows, std::int64_t row_bytes, const Tensor& t, std::int64_t slice,
               std::int64_t width) const {
    if (inner == 1) return convert(compute, rows, 1, t.dtype(), at(t, slice, 0), width * length);
    visit_some<double, float>(compute, [&]<class T>(Type<T>) {
      const std::int64_t apart = row_bytes / size_of(compute);
      each_strip<T>(t, width, [&](std::int64_t i, std::int64_t n, T* strip) {
        const T* from = reinterpret_cast<const T*>(rows) + i;
        if (t.dtype() == compute)
          return transpose<T>(from, apart, width, n, reinterpret_cast<T*>(at(t, slice, i)), inner);
        transpose<T>(from, apart, width, n, strip, width);
        for (std::int64_t k = 0; k < n; ++k)
          convert(compute, strip + k * width, 1, t.dtype(), at(t, slice, i + k), width);
      });
    });
  }

 private:
  // Calls f(i, n, strip) for elements i to i + n of all slices. If t has another type than rows, the buffer
  // `strip` holds n * width elements.
  template<class T, class F>
  void each_strip(const Tensor& t, std::int64_t width, F&& f) const {
    constexpr std::int64_t height = 16;
    const Storage strip(t.dtype() == compute ? 0 : static_cast<std::size_t>(height * width) * sizeof(T),
                        Device());
    for (std::int64_t i = 0; i < length; i += height)
      f(i, std::min(height, length - i), static_cast<T*>(strip.data));
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
  const std::int64_t count = like.numel() / slices.length;
  std::int64_t row_bytes = slices.length * size_of(compute);
  // Rows of a buffer that were a multiple of a page apart would share few lines of the cache.
  if (inner > 1 && row_bytes % 4096 == 0) row_bytes += 64;
  const auto in_place = [&](const Tensor& t) { return t && inner == 1 && t.dtype() == compute; };

  // A tile is the slices of one task; it never contains slices of two outer indices. Without buffers it is
  // larger, because kernels overlap the work on one row with the work on the next; buffers must fit the
  // cache.
  std::int64_t width = std::max<std::int64_t>(1, tile_elements / slices.length);
  if (in_place(out) && std::all_of(inputs.begin(), inputs.end(), in_place))
    width = std::max<std::int64_t>(width, count / (16 * num_threads()));
  if (inner > 1) {  // a wide tile reads long parts of lines that lie far apart, if its buffers fit the cache
    const std::int64_t wide = std::min(buffer_elements / slices.length, count / num_threads());
    width = std::min(std::max(width, std::clamp<std::int64_t>(wide, 16, 64)), inner);
  }
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
      if (!in_place(inputs[k])) slices.gather(inputs[k], first, n, in[k], row_bytes);
    }
    char* const y = rows_of(out);
    kernel(
        f,
        {{in[0], in[1], in[2], in[3]}, y, first, n, row_bytes, in_place(out) && count * row_bytes >= large});
    if (out && !in_place(out)) slices.scatter(y, row_bytes, out, first, n);
  });
}

}  // namespace bobbin
