// Adding by index on a GPU without atomics: what falls on one element is added in the order of the index, so
// that results are the CPU's to the bit. A short index is searched by every thread for its own; a longer one
// is sorted by target, stably, and each run of equal targets is walked in order: a short one by a thread for
// each column, a long one by a block that fetches ahead of the threads that add (ops/index/add_sorted.cuh).
#include <algorithm>

#include "core/ceil_div.h"
#include "core/cuda/backend.h"
#include "core/cuda/fault.h"
#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"
#include "core/cuda/sort.h"
#include "core/strided_copy.h"
#include "ops/index/add_sorted.cuh"
#include "ops/index/grid.cuh"
#include "ops/index/index.h"

namespace bobbin {

using namespace index_grid;

namespace {

// A thread for each element of source [outer, length, inner], whose place in x is where y's column begins, in
// index where the index's does. The first of those that fall on one element adds them all.
template<class T>
__global__ void __launch_bounds__(threads, 4)
    add_short(const __grid_constant__ cuda::StridedIndex<2> walk, const __grid_constant__ Quotient inner,
              const __grid_constant__ Quotient length, const std::int64_t* __restrict__ index,
              std::int64_t index_stride, std::int64_t size, const T* __restrict__ source, T* __restrict__ y,
              std::int64_t y_stride, std::int64_t n, const __grid_constant__ Outside outside) {
  const std::int64_t e = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (e >= n) return;
  const Place place(walk, e);
  const std::int64_t row = inner(e);
  const int many = static_cast<int>(length.divisor), mine = static_cast<int>(row - length(row) * many);
  const std::int64_t* column = index + place.index;
  const std::int64_t choice = column[mine * index_stride];
  if (!inside(choice, size)) return outside(e, choice);
  bool taken = false;
#pragma unroll 8
  for (int l = 0; l < mine; ++l) taken |= column[l * index_stride] == choice;
  if (taken) return;

  using Pack = cuda::Pack<T, 1>;
  const Pack* from = reinterpret_cast<const Pack*>(source) + e;
  T* to = y + place.x + choice * y_stride;
  cuda::Compute<T> sum[1] = {cuda::widen(*to)};
  for (int at = mine; at < many; at += batch)
    add_batch<T>(sum, [&](int k) {
      const int l = at + k < many ? at + k : many - 1;
      const bool same = column[l * index_stride] == choice && l == at + k;
      return Term<T, 1>{from + (same ? l - mine : 0) * inner.divisor, same};
    });
  *to = cuda::narrow<T>(sum[0]);
}

// f(T{}) for the type that sums of that dtype are made of: integers wrap.
template<class F>
void visit_numbers(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f64:
      return f(double{});
    case DType::f32:
      return f(float{});
    case DType::bf16:
      return f(BFloat16{});
    case DType::f16:
      return f(Half{});
    case DType::i64:
      return f(std::uint64_t{});
    case DType::i32:
      return f(std::uint32_t{});
    default:
      return f(std::uint8_t{});
  }
}

cuda::Launch over(const Tensor& y, std::int64_t n) {
  return {.device = y.device(), .grid = cuda::blocks_for(n, threads), .block = threads};
}

// The product of a shape's sizes behind an axis.
std::int64_t behind(const Shape& shape, int axis) {
  std::int64_t n = 1;
  for (int i = axis + 1; i < shape.size(); ++i) n *= shape[i];
  return n;
}

// Adds source to y, where the index has its shape and `index_strides`, and each of its elements stands for
// `inner` of source's.
void add_short(const char* op, int axis, const Tensor& index, Strides index_strides, std::int64_t inner,
               const Tensor& source, const Tensor& y) {
  const std::int64_t n = source.numel(), size = y.shape()[axis], index_stride = index_strides[axis];
  Strides y_strides = y.strides();
  const std::int64_t y_stride = y_strides[axis];
  index_strides[axis] = y_strides[axis] = 0;
  visit_numbers(y.dtype(), [&]<class T>(T) {
    cuda::launch(op, over(y, n), add_short<T>, walk(source.shape(), y, y_strides, index, index_strides),
                 Quotient(behind(source.shape(), axis), n), Quotient(source.shape()[axis], n),
                 index.raw<std::int64_t>(), index_stride, size, source.raw<T>(), y.raw<T>(), y_stride, n,
                 Outside{cuda::fault_reporter(y.device(), op, "index", size), inner, index.numel()});
  });
}

// Adds source [outer, index.numel(), inner] to y [outer, targets, inner]; an index of [0, size) names the
// target `stride` times itself beyond the place in x.
void add_sorted(const char* op, const cuda::StridedIndex<2>& walk, const Tensor& index, std::int64_t size,
                std::int64_t stride, std::int64_t outer, std::int64_t targets, std::int64_t inner,
                const Tensor& source, const Tensor& y) {
  const std::int64_t n = index.numel();
  const auto numbers = [&] { return empty({n}, DType::i64, y.device()); };
  const cuda::Pairs pairs{numbers(), numbers()};
  cuda::launch(op, over(y, n), find_targets, walk, index.raw<std::int64_t>(), stride, n, targets,
               cuda::fault_reporter(y.device(), op, "index", size), pairs.keys.raw<std::int64_t>(),
               pairs.values.raw<std::int64_t>());
  const auto [keys, positions] =
      cuda::sort_pairs(pairs, {numbers(), numbers()},
                       std::max(1, static_cast<int>(std::bit_width(static_cast<std::uint64_t>(targets)))));

  const Sorted sorted{keys.raw<std::int64_t>(), positions.raw<std::int64_t>(), n, targets};
  visit_numbers(y.dtype(), [&]<class T>(T) {
    const auto* from = source.raw<T>();
    auto* to = y.raw<T>();
    const auto runs = [&]<int width>(std::integral_constant<int, width>) {
      const std::int64_t packs = source.numel() / width;
      cuda::launch(op, over(y, packs), add_runs<T, width>, sorted, Quotient(inner / width, packs),
                   Quotient(n, packs), from, to, packs);
    };
    constexpr int wide = (sizeof(T) < 4 ? 8 : 16) / sizeof(T);  // more would not fit the registers
    if (inner % wide == 0 && cuda::is_aligned(from) && cuda::is_aligned(to))
      runs(std::integral_constant<int, wide>());
    else
      runs(std::integral_constant<int, 1>());
    if (n <= limit) return;
    const std::int64_t columns = outer * inner;
    const int lanes = columns < 32 ? static_cast<int>(std::bit_ceil(static_cast<unsigned>(columns))) : 32;
    const std::int64_t blocks = ceil_div(n, limit) * ceil_div(columns, lanes);
    cuda::launch(op, {.device = y.device(), .grid = cuda::blocks_for(blocks, 1), .block = threads},
                 add_long_runs<T>, sorted, inner, columns, lanes, from, to);
  });
}

}  // namespace

void IndexAdd::cuda(Inputs in, Tensor& y) const {
  const Tensor &index = in[1], &source = in[2];
  const std::int64_t size = y.shape()[axis], n = index.numel(), inner = behind(y.shape(), axis);
  if (y.numel() > 0) cuda::copy_elements(in[0], y);
  if (source.numel() == 0) return index_grid::check_indices(name.data(), index, size);
  Strides index_strides = Strides::filled(y.rank(), 0);
  index_strides[axis] = index.strides()[0];
  // Every thread looks through the whole index, where sorting takes the time of some 10^8 looks.
  if (n <= limit && n * source.numel() <= 1 << 27)
    add_short(name.data(), axis, index, index_strides, inner, source, y);
  else
    add_sorted(name.data(), walk(index.shape(), y, {0}, index, index.strides()), index, size, 1,
               source.numel() / n / inner, size, inner, source, y);
}

void ScatterAdd::cuda(Inputs in, Tensor& y) const {
  const Tensor &index = in[1], &source = in[2];
  if (y.numel() > 0) cuda::copy_elements(in[0], y);
  if (source.numel() == 0) return;
  if (index.shape()[axis] <= limit) return add_short(name.data(), axis, index, index.strides(), 1, source, y);
  Strides y_strides = y.strides();
  const std::int64_t stride = y_strides[axis];
  y_strides[axis] = 0;
  add_sorted(name.data(), walk(index.shape(), y, y_strides, index, index.strides()), index, y.shape()[axis],
             stride, 1, y.numel(), 1, source, y);
}

}  // namespace bobbin
