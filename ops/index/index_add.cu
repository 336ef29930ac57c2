// Adding by index on a GPU without atomics. Terms of one element are added in the order of the index, so
// results equal the CPU's bit for bit. With a short index every thread searches the whole index for its
// element's terms. A longer index is sorted, stably, by the element it names (add_sorted.cuh).
#include <algorithm>

#include "core/ceil_div.h"
#include "core/cuda/backend.h"
#include "core/cuda/fault.h"
#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"
#include "core/cuda/sort.h"
#include "core/strided_copy.h"
#include "ops/index/add_sorted.cuh"
#include "ops/index/index.cuh"
#include "ops/index/index.h"

namespace bobbin {

using namespace indexing;

namespace {

// One thread for each element of source [outer, length, inner]. `strided` gives the offsets of its column
// (index 0 on the axis) in y and in the index. Several elements of source may go to one element of y: the
// thread of the first of them adds them all, in order.
template<class T>
__global__ void __launch_bounds__(threads, 4)
    add_short(const __grid_constant__ cuda::StridedIndex<2> strided, const __grid_constant__ Division inner,
              const __grid_constant__ Division length, const std::int64_t* __restrict__ index,
              std::int64_t index_stride, std::int64_t size, const T* __restrict__ source, T* __restrict__ y,
              std::int64_t y_stride, std::int64_t n, const __grid_constant__ OutsideReporter report) {
  const std::int64_t e = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (e >= n) return;
  const Offsets at(strided, e);
  const std::int64_t row = inner(e);
  const int count = static_cast<int>(length.divisor), own = static_cast<int>(row - length(row) * count);
  const std::int64_t* column = index + at.index;
  const std::int64_t choice = column[own * index_stride];
  if (!inside(choice, size)) return report(e, choice);
  bool taken = false;
#pragma unroll 8
  for (int l = 0; l < own; ++l) taken |= column[l * index_stride] == choice;
  if (taken) return;

  using Pack = cuda::Pack<T, 1>;
  const Pack* from = reinterpret_cast<const Pack*>(source) + e;
  T* to = y + at.x + choice * y_stride;
  cuda::Compute<T> sum[1] = {cuda::widen(*to)};
  for (int next = own; next < count; next += batch)
    add_batch<T>(sum, [&](int k) {
      const int l = next + k < count ? next + k : count - 1;
      const bool same = column[l * index_stride] == choice && l == next + k;
      return Term<T, 1>{from + (same ? l - own : 0) * inner.divisor, same};
    });
  *to = cuda::narrow<T>(sum[0]);
}

// Calls f(T{}) with the type that elements of that dtype are read as. Integers are unsigned: their sums wrap.
template<class F>
void visit_numbers(DType dtype, F&& f) {
  visit_some<double, float, BFloat16, Half, std::int64_t, std::int32_t, std::uint8_t>(
      dtype, [&]<class T>(Type<T>) {
        if constexpr (std::is_integral_v<T>)
          f(std::make_unsigned_t<T>{});
        else
          f(T{});
      });
}

cuda::Launch launch_for(const Tensor& y, std::int64_t n) {
  return {.device = y.device(), .grid = cuda::blocks_for(n, threads), .block = threads};
}

// The product of the sizes of the axes after `axis`.
std::int64_t inner_size(const Shape& shape, int axis) {
  std::int64_t n = 1;
  for (int i = axis + 1; i < shape.size(); ++i) n *= shape[i];
  return n;
}

// Adds source to y. `index` has source's shape with `index_strides`; each index belongs to `inner`
// consecutive elements of source.
void add_short(const char* op, int axis, const Tensor& index, Strides index_strides, std::int64_t inner,
               const Tensor& source, const Tensor& y) {
  const std::int64_t n = source.numel(), size = y.shape()[axis], index_stride = index_strides[axis];
  Strides y_strides = y.strides();
  const std::int64_t y_stride = y_strides[axis];
  index_strides[axis] = y_strides[axis] = 0;
  visit_numbers(y.dtype(), [&]<class T>(T) {
    cuda::launch(op, launch_for(y, n), add_short<T>,
                 strided_index(source.shape(), y, y_strides, index, index_strides),
                 Division(inner_size(source.shape(), axis), n), Division(source.shape()[axis], n),
                 index.raw<std::int64_t>(), index_stride, size, source.raw<T>(), y.raw<T>(), y_stride, n,
                 OutsideReporter{cuda::fault_reporter(y.device(), op, "index", size), inner, index.numel()});
  });
}

// Adds source [outer, index.numel(), inner] to y [outer, rows, inner]. An index i in [0, size) names the row
// at its offset in `strided`, plus i * stride.
void add_sorted(const char* op, const cuda::StridedIndex<2>& strided, const Tensor& index, std::int64_t size,
                std::int64_t stride, std::int64_t outer, std::int64_t rows, std::int64_t inner,
                const Tensor& source, const Tensor& y) {
  const std::int64_t n = index.numel();
  const auto numbers = [&] { return empty({n}, DType::i64, y.device()); };
  const cuda::Pairs pairs{numbers(), numbers()};
  cuda::launch(op, launch_for(y, n), find_keys, strided, index.raw<std::int64_t>(), stride, n, rows,
               cuda::fault_reporter(y.device(), op, "index", size), pairs.keys.raw<std::int64_t>(),
               pairs.values.raw<std::int64_t>());
  const auto [keys, positions] =
      cuda::sort_pairs(pairs, {numbers(), numbers()},
                       std::max(1, static_cast<int>(std::bit_width(static_cast<std::uint64_t>(rows)))));

  const SortedIndex sorted{keys.raw<std::int64_t>(), positions.raw<std::int64_t>(), n, rows};
  visit_numbers(y.dtype(), [&]<class T>(T) {
    const auto* from = source.raw<T>();
    auto* to = y.raw<T>();
    const auto runs = [&]<int width>(std::integral_constant<int, width>) {
      const std::int64_t packs = source.numel() / width;
      cuda::launch(op, launch_for(y, packs), add_runs<T, width>, sorted, Division(inner / width, packs),
                   Division(n, packs), from, to, packs);
    };
    constexpr int wide = (sizeof(T) < 4 ? 8 : 16) / sizeof(T);  // wider packs spill registers
    if (inner % wide == 0 && cuda::is_aligned(from) && cuda::is_aligned(to))
      runs(std::integral_constant<int, wide>());
    else
      runs(std::integral_constant<int, 1>());
    if (n <= long_run) return;
    const std::int64_t columns = outer * inner;
    const int width = columns < 32 ? static_cast<int>(std::bit_ceil(static_cast<unsigned>(columns))) : 32;
    const std::int64_t blocks = ceil_div(n, long_run) * ceil_div(columns, width);
    cuda::launch(op, {.device = y.device(), .grid = cuda::blocks_for(blocks, 1), .block = threads},
                 add_long_runs<T>, sorted, inner, columns, width, from, to);
  });
}

}  // namespace

void IndexAdd::cuda(Inputs in, Tensor& y) const {
  const Tensor &index = in[1], &source = in[2];
  const std::int64_t size = y.shape()[axis], n = index.numel(), inner = inner_size(y.shape(), axis);
  if (y.numel() > 0) cuda::copy_elements(in[0], y);
  if (source.numel() == 0) return indexing::check_indices(name.data(), index, size);
  Strides index_strides = Strides::filled(y.rank(), 0);
  index_strides[axis] = index.strides()[0];
  // add_short reads n indices for each element of source. Sorting takes as long as some 10^8 such reads.
  if (n <= long_run && n * source.numel() <= 1 << 27)
    add_short(name.data(), axis, index, index_strides, inner, source, y);
  else
    add_sorted(name.data(), strided_index(index.shape(), y, {0}, index, index.strides()), index, size, 1,
               source.numel() / n / inner, size, inner, source, y);
}

void ScatterAdd::cuda(Inputs in, Tensor& y) const {
  const Tensor &index = in[1], &source = in[2];
  if (y.numel() > 0) cuda::copy_elements(in[0], y);
  if (source.numel() == 0) return;
  if (index.shape()[axis] <= long_run)
    return add_short(name.data(), axis, index, index.strides(), 1, source, y);
  Strides y_strides = y.strides();
  const std::int64_t stride = y_strides[axis];
  y_strides[axis] = 0;
  add_sorted(name.data(), strided_index(index.shape(), y, y_strides, index, index.strides()), index,
             y.shape()[axis], stride, 1, y.numel(), 1, source, y);
}

}  // namespace bobbin
