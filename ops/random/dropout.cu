// dropout on a GPU: a thread draws one block of random numbers, for four adjacent elements.
#include "core/cuda/replay_arg.h"
#include "ops/check.h"
#include "ops/elementwise/map.cuh"
#include "ops/random/dropout.h"

namespace bobbin {
namespace {

constexpr int threads = 256, width = 4;

// Not inlined: it runs once in 2^32 elements, and would cost registers.
__device__ __noinline__ bool further_happens(Philox philox, std::uint64_t i, std::uint64_t rest) {
  return philox.further_word(i) < rest;
}

// Thread i computes elements 4 i to 4 i + 3, then the same elements plus the size of the grid, and so on. It
// uses one access for four elements if the tensors are contiguous and aligned.
template<class T>
__global__ void __launch_bounds__(threads)
    drop(const cuda::MapArgs<1> a, const cuda::ReplayArg<Philox> philox_arg, const Chance chance, T scale) {
  const Philox philox = philox_arg.get();
  const std::int64_t numel = a.walk.numel, step = std::int64_t{gridDim.x} * threads * width;
  for (std::int64_t i = (std::int64_t{blockIdx.x} * threads + threadIdx.x) * width; i < numel; i += step) {
    const Philox::Block words = philox(static_cast<std::uint64_t>(i) / width);
    const bool whole = a.vectors && i + width <= numel;
    T v[width];
    if (whole)
      cuda::load(a.in[0].data, a.in[0].dtype, i, v);
    else
      for (int k = 0; k < width && i + k < numel; ++k) {
        std::int64_t at[1];
        a.walk(i + k, at);
        T one[1];
        cuda::load(a.in[0].data, a.in[0].dtype, at[0], one);
        v[k] = one[0];
      }
    unsigned ties = 0;
#pragma unroll
    for (int k = 0; k < width; ++k) {
      ties |= static_cast<unsigned>(words.v[k] == chance.whole) << k;
      v[k] = words.v[k] < chance.whole ? T(0) : v[k] * scale;
    }
    if (whole)
      cuda::store(a.out, a.out_dtype, i, v);
    else
      for (int k = 0; k < width && i + k < numel; ++k) {
        const T one[1] = {v[k]};
        cuda::store(a.out, a.out_dtype, i + k, one);
      }
    for (int k = 0; ties >> k != 0; ++k)
      if ((ties >> k & 1) != 0 && i + k < numel &&
          further_happens(philox, static_cast<std::uint64_t>(i + k), chance.rest)) {
        const T zero[1] = {T(0)};
        cuda::store(a.out, a.out_dtype, i + k, zero);
      }
  }
}

}  // namespace

void Dropout::cuda(Inputs x, Tensor& y) const {
  if (y.numel() == 0) return;
  cuda::MapArgs<1> a{{}, y.raw(), y.dtype(), false, false, cuda::StridedIndex<1>(y.shape(), {&x[0]})};
  a.in[0] = {x[0].raw(), x[0].dtype(), cuda::Layout::strided};
  a.vectors = a.walk.contiguous(0) && cuda::is_aligned(x[0].raw()) && cuda::is_aligned(y.raw());
  const auto run = [&]<class T>(Type<T>) {
    cuda::launch(
        name, {.device = y.device(), .grid = cuda::blocks_for(y.numel(), threads * width), .block = threads},
        drop<T>, a, cuda::replay_arg({state.seed, state.draws}), Chance(p), static_cast<T>(1 / (1 - p)));
  };
  compute_type(y.dtype()) == DType::f64 ? run(Type<double>{}) : run(Type<float>{});
}

}  // namespace bobbin
