#include "ceiling.h"

namespace bench {
namespace {

constexpr int most_threads = 512;

template<bool streaming>
__device__ uint4 load(const uint4* p) {
  return streaming ? __ldcs(p) : *p;
}
template<bool streaming>
__device__ void store(uint4* p, uint4 v) {
  streaming ? __stcs(p, v) : void(*p = v);
}

template<int inputs, int packs, bool streaming, bool whole>
__device__ __forceinline__ void move_tile(const uint4* a, const uint4* b, uint4* y, std::int64_t n) {
  uint4 v[packs], w[packs];
#pragma unroll
  for (int k = 0; k < packs; ++k) {
    const int i = k * static_cast<int>(blockDim.x);
    if (whole || i < n) {
      v[k] = load<streaming>(a + i);
      if constexpr (inputs == 2) w[k] = load<streaming>(b + i);
    }
  }
#pragma unroll
  for (int k = 0; k < packs; ++k) {
    const int i = k * static_cast<int>(blockDim.x);
    if constexpr (inputs == 2) v[k] = {v[k].x ^ w[k].x, v[k].y ^ w[k].y, v[k].z ^ w[k].z, v[k].w ^ w[k].w};
    if (whole || i < n) store<streaming>(y + i, v[k]);
  }
}

template<int inputs, int packs, bool streaming>
__global__ void __launch_bounds__(most_threads)
    move(const uint4* a, const uint4* b, uint4* y, std::int64_t n) {
  const std::int64_t tile = std::int64_t{blockDim.x} * packs;
  for (std::int64_t first = blockIdx.x * tile; first < n; first += gridDim.x * tile) {
    const std::int64_t i = first + threadIdx.x;
    if (first + tile <= n)
      move_tile<inputs, packs, streaming, true>(a + i, b + i, y + i, n - i);
    else
      move_tile<inputs, packs, streaming, false>(a + i, b + i, y + i, n - i);
  }
}

using Kernel = void (*)(const uint4*, const uint4*, uint4*, std::int64_t);

template<int packs>
Kernel kernel(bool two, bool streaming) {
  if (two) return streaming ? move<2, packs, true> : move<2, packs, false>;
  return streaming ? move<1, packs, true> : move<1, packs, false>;
}

int multiprocessors() {
  int device = 0, count = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return count;
}

}  // namespace

std::vector<CopyPlan> copy_plans() {
  std::vector<CopyPlan> plans;
  for (const int threads : {256, most_threads})
    for (const int packs : {1, 2, 4, 8})
      for (const bool streaming : {false, true}) plans.push_back({threads, packs, streaming, 0});
  for (const bool streaming : {false, true}) plans.push_back({most_threads, 4, streaming, 4});
  return plans;
}

cudaError_t enqueue_copy(const CopyPlan& plan, const void* a, const void* b, void* y, std::int64_t bytes,
                         cudaStream_t stream) {
  const std::int64_t n = bytes / 16, tile = std::int64_t{plan.threads} * plan.packs;
  if (n == 0) return cudaSuccess;
  static const int sms = multiprocessors();
  const std::int64_t tiles = (n + tile - 1) / tile, resident = std::int64_t{sms} * plan.waves;
  const auto blocks = static_cast<unsigned>(plan.waves > 0 && resident < tiles ? resident : tiles);
  const Kernel f = plan.packs == 1   ? kernel<1>(b, plan.streaming)
                   : plan.packs == 2 ? kernel<2>(b, plan.streaming)
                   : plan.packs == 4 ? kernel<4>(b, plan.streaming)
                                     : kernel<8>(b, plan.streaming);
  f<<<blocks, static_cast<unsigned>(plan.threads), 0, stream>>>(
      static_cast<const uint4*>(a), static_cast<const uint4*>(b), static_cast<uint4*>(y), n);
  return cudaGetLastError();
}

}  // namespace bench
