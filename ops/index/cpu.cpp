// Picking and adding by index on the CPU.
#include <bobbin/parallel.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "core/ceil_div.h"
#include "core/convert.h"
#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/index/index.h"

namespace bobbin {
namespace {

constexpr std::int64_t tile_elements = 16 * block_size;  // a task for a thread
// For a task that only copies: for fewer bytes, waking a thread costs more than the copy.
constexpr std::int64_t tile_bytes = 1 << 19;

// Calls f(first, last) for tiles of [0, count), in parallel.
template<class F>
void for_tiles(std::int64_t count, std::int64_t tile, F&& f) {
  parallel_for(ceil_div(count, tile), [&](std::int64_t t) { f(t * tile, std::min(count, (t + 1) * tile)); });
}

// The elements of `index`, checked to be in [0, size).
const std::int64_t* checked(std::string_view op, const Tensor& index, std::int64_t size) {
  const auto v = index.data<std::int64_t>();
  std::int64_t outside = 0;  // a count without branches vectorises; the search runs only before an error
  for (auto i : v) outside += i < 0 || i >= size;
  if (outside == 0) return v.data();
  const auto bad = std::find_if(v.begin(), v.end(), [size](auto i) { return i < 0 || i >= size; });
  fail<IndexError>(op, ": index ", *bad, " at flat position ", bad - v.begin(), " is outside [0,", size, ")");
}

// The offset of each combination of indices on axes [first, last) of `shape`, in row-major order.
std::vector<std::int64_t> offsets(const Shape& shape, const Strides& strides, int first, int last) {
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

// An index tensor of `shape` seen as [outer, length, width] around the axis, and the offsets of its outer and
// inner positions in a tensor with `strides`.
struct AxisOffsets {
  std::vector<std::int64_t> outer, inner;
  std::int64_t length, stride, width;  // size of the axis; its stride in the tensor; inner.size()

  AxisOffsets(const Shape& shape, const Strides& strides, int axis)
      : outer(offsets(shape, strides, 0, axis)),
        inner(offsets(shape, strides, axis + 1, shape.size())),
        length(shape[axis]),
        stride(strides[axis]),
        width(std::ssize(inner)) {}
};

// Calls f with the size as a constant where it is 1, 2, 4 or 8, else with 0. A memcpy of constant size
// compiles to one move.
template<class F>
void visit_bytes(std::int64_t bytes, F&& f) {
  if (bytes > 8 || !std::has_single_bit(static_cast<std::uint64_t>(bytes)))
    return f(std::integral_constant<std::int64_t, 0>());
  visit_word(bytes, [&]<class Word>(Word) { f(std::integral_constant<std::int64_t, sizeof(Word)>()); });
}

// Calls f(outer, first, n) in parallel, for inner positions [first, first + n). Each pair of an outer and an
// inner position is in one call, which adds along the axis: the order of a sum does not depend on threads.
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

// Copies x to y and calls add(Type<T>, sums). `sums` points at y's elements; for 16-bit types, at f32 copies,
// which are rounded to y afterwards.
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

// Unsigned for integers, which wrap.
template<class T>
T plus(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) + static_cast<std::make_unsigned_t<T>>(b));
  else
    return a + b;
}

}  // namespace

// Copies slices as runs of the elements of the axes after `axis`, which must be contiguous for that.
void IndexSelect::cpu(Inputs in, Tensor& y) const {
  const Tensor& index = in[1];
  const auto* pick = checked(name, index, in[0].shape()[axis]);
  if (y.numel() == 0) return;
  Shape run;
  Strides run_strides;
  for (int i = axis + 1; i < y.rank(); ++i)
    run.push_back(y.shape()[i]), run_strides.push_back(in[0].strides()[i]);
  const Tensor x = in[0].alias(run, run_strides, 0).is_contiguous() ? in[0] : row_major(in[0]);

  const auto outer = offsets(x.shape(), x.strides(), 0, axis);
  const std::int64_t item = size_of(x.dtype()), size = numel(run) * item, length = index.numel();
  const std::int64_t rows = std::ssize(outer) * length, stride = x.strides()[axis];
  const auto* from = x.raw<char>();
  auto* to = y.raw<char>();
  visit_bytes(size, [&](auto known) {
    const std::int64_t bytes = known != 0 ? known() : size;
    for_tiles(rows, std::max<std::int64_t>(1, tile_bytes / size), [&](std::int64_t r, std::int64_t end) {
      std::int64_t o = r / length, i = r % length;
      const auto next = [&] {
        const char* slice = from + (outer[static_cast<std::size_t>(o)] + pick[i] * stride) * item;
        if (++i == length) i = 0, ++o;
        return slice;
      };
      for (const char* slice = next(); r < end; ++r) {
        const char* now = slice;
        if (r + 1 < end) slice = next();
        if (known == 0)
          __builtin_prefetch(slice);  // slices are scattered: the hardware does not prefetch them
        std::memcpy(to + r * bytes, now, static_cast<std::size_t>(bytes));
      }
    });
  });
}

void IndexAdd::cpu(Inputs in, Tensor& y) const {
  const Tensor &index = in[1], &source = in[2];
  const std::int64_t size = in[0].shape()[axis], length = index.numel();
  const auto* pick = checked(name, index, size);
  if (source.numel() == 0) return copy_elements(in[0], y);  // products of other sizes may overflow
  std::int64_t outer = 1, inner = 1;
  for (int i = 0; i < y.rank(); ++i)
    if (i != axis) (i < axis ? outer : inner) *= y.shape()[i];
  add_to_copy(in[0], y, [&]<class T, class Sum>(Type<T>, Sum* sums) {
    const auto* from = source.raw<T>();
    for_columns(outer, length, inner, [&](std::int64_t o, std::int64_t first, std::int64_t n) {
      for (std::int64_t l = 0; l < length; ++l) {
        Sum* __restrict to = sums + (o * size + pick[l]) * inner + first;
        const T* __restrict add = from + (o * length + l) * inner + first;
        for (std::int64_t i = 0; i < n; ++i) to[i] = plus(to[i], static_cast<Sum>(add[i]));
      }
    });
  });
}

void Gather::cpu(Inputs in, Tensor& y) const {
  const Tensor &x = in[0], &index = in[1];
  const auto* pick = checked(name, index, x.shape()[axis]);
  if (y.numel() == 0) return;
  const AxisOffsets at(index.shape(), x.strides(), axis);
  const auto* from = x.raw<char>();
  auto* to = y.raw<char>();
  visit_bytes(size_of(x.dtype()), [&](auto bytes) {
    for_tiles(y.numel(), tile_elements, [&](std::int64_t k, std::int64_t end) {
      std::int64_t line = k / at.width, i = k % at.width, o = line / at.length, l = line % at.length;
      while (k < end) {
        const std::int64_t base = at.outer[static_cast<std::size_t>(o)];
        for (; i < at.width && k < end; ++i, ++k) {
          const std::int64_t offset = base + at.inner[static_cast<std::size_t>(i)] + pick[k] * at.stride;
          std::memcpy(to + k * bytes, from + offset * bytes, static_cast<std::size_t>(bytes()));
        }
        i = 0;
        if (++l == at.length) l = 0, ++o;
      }
    });
  });
}

void ScatterAdd::cpu(Inputs in, Tensor& y) const {
  const Tensor &index = in[1], &source = in[2];
  const auto* pick = checked(name, index, y.shape()[axis]);
  if (index.numel() == 0) return copy_elements(in[0], y);
  const AxisOffsets at(index.shape(), y.strides(), axis);
  add_to_copy(in[0], y, [&]<class T, class Sum>(Type<T>, Sum* sums) {
    const auto* from = source.raw<T>();
    for_columns(
        std::ssize(at.outer), at.length, at.width, [&](std::int64_t o, std::int64_t first, std::int64_t n) {
          const std::int64_t base = at.outer[static_cast<std::size_t>(o)];
          for (std::int64_t l = 0; l < at.length; ++l) {
            const std::int64_t row = (o * at.length + l) * at.width;
            for (std::int64_t i = first; i < first + n; ++i) {
              Sum& to = sums[base + at.inner[static_cast<std::size_t>(i)] + pick[row + i] * at.stride];
              to = plus(to, static_cast<Sum>(from[row + i]));
            }
          }
        });
  });
}

void OneHot::cpu(Inputs in, Tensor& y) const {
  const auto* pick = checked(name, in[0], classes);
  auto* to = y.raw<char>();
  const double one = 1;
  char element[8];
  convert(DType::f64, &one, 1, dtype, element, 1);
  visit_bytes(size_of(dtype), [&](auto bytes) {
    for_tiles(
        in[0].numel(), std::max<std::int64_t>(1, tile_elements / classes),
        [&](std::int64_t i, std::int64_t end) {
          std::memset(to + i * classes * bytes, 0, static_cast<std::size_t>((end - i) * classes * bytes));
          for (; i < end; ++i)
            std::memcpy(to + (i * classes + pick[i]) * bytes, element, static_cast<std::size_t>(bytes()));
        });
  });
}

}  // namespace bobbin
