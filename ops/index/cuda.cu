// Picking by index on a GPU. Kernels move elements as bytes, and slices in packs of up to 16 bytes where the
// alignment allows. For an index outside its axis they read nothing and write zeros.
#include "core/convert.h"
#include "core/cuda/fault.h"
#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"
#include "ops/index/index.cuh"
#include "ops/index/index.h"

namespace bobbin {

using namespace indexing;

namespace {

constexpr int threads = 256;
constexpr int items = 4;  // loads of a thread at the same time

// y[e] = x[e's offset in x + index * stride], with the index at e's offset in `index`. Each e is a pack of
// `width` elements.
template<class E>
__global__ void __launch_bounds__(threads)
    pick(const __grid_constant__ cuda::StridedIndex<2> strided, const E* x, std::int64_t stride,
         std::int64_t size, const std::int64_t* index, E* y, std::int64_t width,
         const __grid_constant__ OutsideReporter report) {
  const int step = static_cast<int>(blockDim.x);
  const std::int64_t first = std::int64_t{blockIdx.x} * (step * items) + threadIdx.x;
  std::int64_t from[items], choice[items];
#pragma unroll
  for (int k = 0; k < items; ++k) {
    const Offsets at(strided, first + k * step);
    from[k] = at.x;
    choice[k] = at.index;
  }
  cuda::await_previous();
#pragma unroll
  for (int k = 0; k < items; ++k) choice[k] = first + k * step < strided.numel ? index[choice[k]] : 0;
  E v[items];
  unsigned bad = 0;
#pragma unroll
  for (int k = 0; k < items; ++k) {
    v[k] = E{};
    if (first + k * step >= strided.numel) continue;
    if (inside(choice[k], size))
      v[k] = x[from[k] + choice[k] * stride];
    else
      bad |= 1u << k;
  }
#pragma unroll
  for (int k = 0; k < items; ++k)
    if (const std::int64_t e = first + k * step; e < strided.numel) y[e] = v[k];

  for (; bad; bad &= bad - 1) {
    const std::int64_t e = first + (__ffs(bad) - 1) * step;
    report(e * width, index[Offsets(strided, e).index]);
  }
}

template<class E>
__global__ void __launch_bounds__(threads)
    one_hot(const std::int64_t* __restrict__ index, const __grid_constant__ Division classes, E one,
            E* __restrict__ y, std::int64_t n, const __grid_constant__ cuda::FaultReporter report) {
  using Pack = cuda::Pack<E>;
  const std::int64_t first = (std::int64_t{blockIdx.x} * threads + threadIdx.x) * Pack::size;
  if (first >= n) return;
  const std::int64_t end = n - first < Pack::size ? n : first + Pack::size;
  const std::int64_t top = classes(first);
  std::int64_t row = top, column = first - row * classes.divisor, choice = index[row];
  Pack v;
#pragma unroll
  for (int k = 0; k < Pack::size; ++k) {
    v.v[k] = column == choice ? one : E{};
    if (++column == classes.divisor) {
      column = 0;
      if (++row * classes.divisor < end) choice = index[row];
    }
  }
  if (end == first + Pack::size)
    *reinterpret_cast<Pack*>(y + first) = v;
  else
#pragma unroll
    for (int k = 0; k < Pack::size; ++k)
      if (first + k < n) y[first + k] = v.v[k];

  // The thread that writes a row's first element checks its index.
  for (row = top * classes.divisor < first ? top + 1 : top; row * classes.divisor < end; ++row)
    if (!inside(index[row], report.size)) report(row, index[row]);
}

__global__ void __launch_bounds__(threads)
    check(const std::int64_t* index, std::int64_t stride, std::int64_t n,
          const __grid_constant__ cuda::FaultReporter report) {
  const std::int64_t i = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (i < n && !inside(index[i * stride], report.size)) report(i, index[i * stride]);
}

// Whether `width` consecutive elements always lie side by side in x, begin at a multiple of `width`, and
// share one index.
bool can_pack(const cuda::StridedIndex<2>& strided, std::int64_t width) {
  bool fits = strided.rank > 0 && strided.stride[0][0] == 1 && strided.stride[1][0] == 0 &&
              strided.size[0] % width == 0;
  for (int d = 1; d < strided.rank; ++d) fits = fits && strided.stride[0][d] % width == 0;
  return fits;
}

// Makes a pack of `width` elements the unit of the sizes and of x's strides.
void pack(cuda::StridedIndex<2>& strided, std::int64_t width) {
  strided.numel /= width;
  strided.narrow = strided.numel < std::int64_t{1} << 31;
  strided.size[0] /= width;
  for (int d = 1; d < strided.rank; ++d) strided.stride[0][d] /= width;
  for (int d = 0; d < strided.rank && strided.narrow; ++d)
    strided.by[d] = cuda::Divider(static_cast<std::uint32_t>(strided.size[d]));
}

// Picks y from x. `index` has y's shape with `index_strides`; each index belongs to `inner` consecutive
// elements of y.
void pick(const char* op, const Tensor& x, int axis, const Tensor& index, const Strides& index_strides,
          std::int64_t inner, const Tensor& y) {
  Strides x_strides = x.strides();
  std::int64_t stride = x_strides[axis];
  x_strides[axis] = 0;
  cuda::StridedIndex<2> strided = strided_index(y.shape(), x, x_strides, index, index_strides);

  const std::int64_t item = size_of(x.dtype());
  std::int64_t width = 16 / item;
  const auto fits = [&] {
    const auto bytes = static_cast<std::size_t>(width * item);
    return can_pack(strided, width) && stride % width == 0 && cuda::is_aligned(x.raw(), bytes) &&
           cuda::is_aligned(y.raw(), bytes);
  };
  while (width > 1 && !fits()) width /= 2;
  if (width > 1) {
    pack(strided, width);
    stride /= width;
  }

  const std::int64_t size = x.shape()[axis];
  // Small blocks spread few elements over more multiprocessors.
  const unsigned block =
      strided.numel < std::int64_t{threads} * items * cuda::properties(y.device()).sms ? 64 : threads;
  const OutsideReporter report{cuda::fault_reporter(y.device(), op, "index", size), inner, index.numel()};
  const auto launch = [&]<class E>(E) {
    cuda::launch(op,
                 {.device = y.device(),
                  .grid = cuda::blocks_for(strided.numel, block * items),
                  .block = block,
                  .early = true},
                 pick<E>, strided, x.raw<E>(), stride, size, index.raw<std::int64_t>(), y.raw<E>(), width,
                 report);
  };
  if (width * item == 16)
    launch(uint4{});
  else
    visit_word(width * item, launch);
}

}  // namespace

void indexing::check_indices(const char* op, const Tensor& index, std::int64_t size) {
  const std::int64_t n = index.numel();
  cuda::launch(op, {.device = index.device(), .grid = cuda::blocks_for(n, threads), .block = threads}, check,
               index.raw<std::int64_t>(), index.strides()[0], n,
               cuda::fault_reporter(index.device(), op, "index", size));
}

void IndexSelect::cuda(Inputs in, Tensor& y) const {
  if (y.numel() == 0) return indexing::check_indices(name.data(), in[1], in[0].shape()[axis]);
  Strides index_strides = Strides::filled(y.rank(), 0);
  index_strides[axis] = in[1].strides()[0];
  std::int64_t inner = 1;
  for (int i = axis + 1; i < y.rank(); ++i) inner *= y.shape()[i];
  pick(name.data(), in[0], axis, in[1], index_strides, inner, y);
}

void Gather::cuda(Inputs in, Tensor& y) const {
  if (y.numel() > 0) pick(name.data(), in[0], axis, in[1], in[1].strides(), 1, y);
}

void OneHot::cuda(Inputs in, Tensor& y) const {
  if (y.numel() == 0) return;
  const std::int64_t n = y.numel();
  const std::uint64_t one = dtype == DType::f64    ? 0x3FF0'0000'0000'0000
                            : dtype == DType::f32  ? 0x3F80'0000
                            : dtype == DType::bf16 ? 0x3F80
                            : dtype == DType::f16  ? 0x3C00
                                                   : 1;
  const auto report = cuda::fault_reporter(y.device(), name.data(), "index", classes);
  visit_word(size_of(dtype), [&]<class E>(E) {
    cuda::launch(
        name,
        {.device = y.device(), .grid = cuda::blocks_for(n, threads * (16 / sizeof(E))), .block = threads},
        one_hot<E>, in[0].raw<std::int64_t>(), Division(classes, n), static_cast<E>(one), y.raw<E>(), n,
        report);
  });
}

}  // namespace bobbin
