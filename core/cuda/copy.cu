// Copies on one GPU, between strides and dtypes; fills.
#include <cstring>
#include <optional>

#include "core/cast.h"
#include "core/ceil_div.h"
#include "core/convert.h"
#include "core/cuda/backend.h"
#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"
#include "core/cuda/strided.cuh"

namespace bobbin::cuda {
namespace {

constexpr int threads = 256;

// Converts n elements of x, both aligned to them or to 16 bytes.
template<int n, class From, class To>
__device__ void convert_pack(const From* x, To* y) {
  constexpr int in_width = n * sizeof(From) > 16 ? 16 / sizeof(From) : n,
                out_width = n * sizeof(To) > 16 ? 16 / sizeof(To) : n;
  From v[n];
#pragma unroll
  for (int p = 0; p < n / in_width; ++p) {
    const auto pack = reinterpret_cast<const Pack<From, in_width>*>(x)[p];
#pragma unroll
    for (int k = 0; k < in_width; ++k) v[p * in_width + k] = pack.v[k];
  }
#pragma unroll
  for (int p = 0; p < n / out_width; ++p) {
    Pack<To, out_width> pack;
#pragma unroll
    for (int k = 0; k < out_width; ++k) pack.v[k] = cast<To>(v[p * out_width + k]);
    reinterpret_cast<Pack<To, out_width>*>(y)[p] = pack;
  }
}

// x and y are contiguous, and aligned to n elements. Each thread converts n elements.
template<class From, int n = 8>
__global__ void __launch_bounds__(threads)
    convert_packed(const From* x, void* y, DType to, std::int64_t numel) {
  await_previous();
  const std::int64_t i = (std::int64_t{blockIdx.x} * threads + threadIdx.x) * n;
  if (i >= numel) return;
  visit(to, [&]<class To>(Type<To>) {
    To* out = static_cast<To*>(y) + i;
    if (i + n > numel)
      for (int k = 0; k < numel - i; ++k) out[k] = cast<To>(x[i + k]);
    else
      convert_pack<n>(x + i, out);
  });
}

// The walk counts packs of n elements.
template<class From, int n>
__global__ void __launch_bounds__(threads)
    convert_strided(const From* x, void* y, DType to, const StridedIndex<2> walk) {
  visit(to, [&]<class To>(Type<To>) {
    const std::int64_t step = std::int64_t{gridDim.x} * threads;
    for (std::int64_t i = std::int64_t{blockIdx.x} * threads + threadIdx.x; i < walk.numel; i += step) {
      std::int64_t at[2];
      walk(i, at);
      convert_pack<n>(x + at[0] * n, static_cast<To*>(y) + at[1] * n);
    }
  });
}

// The same walk in packs of n elements, where the rows of both tensors along dimension 0 consist of such
// packs.
std::optional<StridedIndex<2>> in_packs(const StridedIndex<2>& walk, int n) {
  if (walk.rank == 0) return {};
  StridedIndex<2> packs = walk;
  for (int d = 0; d < walk.rank; ++d)
    for (int k = 0; k < 2; ++k) {
      if (d == 0 ? walk.stride[k][0] != 1 || walk.size[0] % n != 0 : walk.stride[k][d] % n != 0) return {};
      if (d > 0) packs.stride[k][d] /= n;
    }
  packs.size[0] /= n;
  packs.numel /= n;
  packs.by[0] = Divider(static_cast<std::uint32_t>(packs.size[0]));
  return packs;
}

// Copies elements of one dtype as unsigned integers of their size.
template<class Word>
__global__ void __launch_bounds__(threads) move_strided(const Word* x, Word* y, const StridedIndex<2> walk) {
  const std::int64_t step = std::int64_t{gridDim.x} * threads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * threads + threadIdx.x; i < walk.numel; i += step) {
    std::int64_t at[2];
    walk(i, at);
    y[at[1]] = x[at[0]];
  }
}

// Transposes matrices through tiles in shared memory, so that neighbouring threads both read and write
// neighbouring elements. Elements are neighbours in y along dimension 0, and in x along dimension `across`.
constexpr int tile = 32, tile_rows = 8;
template<class Word>
__global__ void __launch_bounds__(tile* tile_rows)
    transpose_tiles(const Word* x, Word* y, const StridedIndex<2> walk, int across, std::int64_t tiles_along,
                    std::int64_t tiles_across) {
  __shared__ Word held[tile][tile + 1];
  std::int64_t t = blockIdx.x;
  const std::int64_t along = t % tiles_along * tile, other = t / tiles_along % tiles_across * tile;
  t /= tiles_along * tiles_across;
  std::int64_t from = 0, to = 0;
  for (int d = 1; d < walk.rank; ++d) {
    if (d == across) continue;
    const std::int64_t here = t % walk.size[d];
    t /= walk.size[d];
    from += here * walk.stride[0][d];
    to += here * walk.stride[1][d];
  }
  const int lane = static_cast<int>(threadIdx.x) % tile, row = static_cast<int>(threadIdx.x) / tile;
  const std::int64_t n = walk.size[0], m = walk.size[across];
  for (int r = row; r < tile; r += tile_rows)
    if (along + r < n && other + lane < m)
      held[r][lane] = x[from + (along + r) * walk.stride[0][0] + (other + lane) * walk.stride[0][across]];
  __syncthreads();
  for (int r = row; r < tile; r += tile_rows)
    if (along + lane < n && other + r < m)
      y[to + (along + lane) * walk.stride[1][0] + (other + r) * walk.stride[1][across]] = held[lane][r];
}

template<class Word>
void move(const Tensor& x, const Tensor& y, const StridedIndex<2>& walk) {
  const auto* from = x.raw<Word>();
  auto* to = y.raw<Word>();
  if (const auto packs = in_packs(walk, 16 / sizeof(Word)); packs && is_aligned(from) && is_aligned(to))
    return launch("copy", {.device = y.device(), .grid = blocks_for(packs->numel, threads), .block = threads},
                  move_strided<uint4>, reinterpret_cast<const uint4*>(from), reinterpret_cast<uint4*>(to),
                  *packs);
  for (int d = 1; d < walk.rank; ++d) {
    if (walk.stride[0][d] != 1 || walk.stride[1][0] != 1 || walk.size[0] < 8 || walk.size[d] < 8) continue;
    const std::int64_t along = ceil_div(walk.size[0], tile), across = ceil_div(walk.size[d], tile);
    const std::int64_t blocks = walk.numel / (walk.size[0] * walk.size[d]) * along * across;
    if (blocks > 0x7fffffff) break;
    return launch("copy",
                  {.device = y.device(), .grid = static_cast<unsigned>(blocks), .block = tile * tile_rows},
                  transpose_tiles<Word>, from, to, walk, d, along, across);
  }
  launch("copy", {.device = y.device(), .grid = blocks_for(walk.numel, threads), .block = threads},
         move_strided<Word>, from, to, walk);
}

template<class Word>
__global__ void __launch_bounds__(threads) fill_packed(Word* y, Word value, std::int64_t numel) {
  await_previous();
  constexpr int n = 16 / sizeof(Word);
  const std::int64_t i = (std::int64_t{blockIdx.x} * threads + threadIdx.x) * n;
  if (i + n <= numel) {
    Pack<Word, n> pack;
#pragma unroll
    for (int k = 0; k < n; ++k) pack.v[k] = value;
    *reinterpret_cast<Pack<Word, n>*>(y + i) = pack;
  } else {
    for (int k = 0; i + k < numel; ++k) y[i + k] = value;
  }
}
template<class Word>
__global__ void __launch_bounds__(threads) fill_strided(Word* y, Word value, const StridedIndex<1> walk) {
  const std::int64_t step = std::int64_t{gridDim.x} * threads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * threads + threadIdx.x; i < walk.numel; i += step) {
    std::int64_t at[1];
    walk(i, at);
    y[at[0]] = value;
  }
}

template<class Word>
void fill(const Tensor& y, const void* value) {
  Word v;
  std::memcpy(&v, value, sizeof v);
  auto* to = y.raw<Word>();
  const StridedIndex<1> walk(y.shape(), {&y});
  if (walk.contiguous(0) && is_aligned(to))
    launch("fill",
           {.device = y.device(),
            .grid = blocks_for(y.numel(), threads * (16 / sizeof(Word))),
            .block = threads,
            .early = true},
           fill_packed<Word>, to, v, y.numel());
  else
    launch("fill", {.device = y.device(), .grid = blocks_for(y.numel(), threads), .block = threads},
           fill_strided<Word>, to, v, walk);
}

}  // namespace

void copy_on_device(const Tensor& x, const Tensor& y) {
  if (y.numel() == 0) return;
  const StridedIndex<2> walk(y.shape(), {&x, &y});
  const bool packed = walk.contiguous(0) && walk.contiguous(1);
  if (x.dtype() == y.dtype()) {
    if (!packed) return visit_word(size_of(x.dtype()), [&]<class Word>(Word) { move<Word>(x, y, walk); });
    const DeviceGuard use(y.device());
    return check(cudaMemcpyAsync(y.raw(), x.raw(), static_cast<std::size_t>(y.numel() * size_of(y.dtype())),
                                 cudaMemcpyDeviceToDevice, stream(y.device())),
                 "copy");
  }
  visit(x.dtype(), [&]<class From>(Type<From>) {
    const auto* from = x.raw<From>();
    if (packed && is_aligned(from) && is_aligned(y.raw()))
      launch(
          "copy",
          {.device = y.device(), .grid = blocks_for(y.numel(), threads * 8), .block = threads, .early = true},
          convert_packed<From>, from, y.raw(), y.dtype(), y.numel());
    else if (const auto packs = in_packs(walk, 8); packs && is_aligned(from) && is_aligned(y.raw()))
      launch("copy", {.device = y.device(), .grid = blocks_for(packs->numel, threads), .block = threads},
             convert_strided<From, 8>, from, y.raw(), y.dtype(), *packs);
    else
      launch("copy", {.device = y.device(), .grid = blocks_for(y.numel(), threads), .block = threads},
             convert_strided<From, 1>, from, y.raw(), y.dtype(), walk);
  });
}

void fill_elements(const Tensor& y, double value) {
  if (y.numel() == 0) return;
  alignas(8) char bytes[8];
  convert(DType::f64, &value, 1, y.dtype(), bytes, 1);
  visit_word(size_of(y.dtype()), [&]<class Word>(Word) { fill<Word>(y, bytes); });
}

}  // namespace bobbin::cuda
