// Batch normalisation on a GPU. One block sums a channel, in f64 and in a fixed order. The kernels that write
// elements use one thread per element.
#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"
#include "core/cuda/strided.cuh"
#include "ops/check.h"
#include "ops/norm/batch_norm.h"

namespace bobbin {
namespace {

constexpr int threads = 256, sum_threads = 1024;

template<class T>
using Sum = cuda::Compute<T>;

struct Sizes {
  std::int64_t images, channels, size;
  cuda::Divider by_size, by_channels;
  explicit Sizes(const Channels& s)
      : images(s.images),
        channels(s.channels),
        size(s.size),
        by_size(static_cast<std::uint32_t>(s.size)),
        by_channels(static_cast<std::uint32_t>(s.channels)) {}
  /// The index in x of element i of a channel.
  __device__ std::int64_t at(std::int64_t channel, std::int64_t i) const {
    const std::int64_t image = i >> 32 ? i / size : by_size(static_cast<std::uint32_t>(i));
    return (image * channels + channel) * size + (i - image * size);
  }
  __device__ int channel_of(std::int64_t i) const {
    if (i >> 32) return static_cast<int>(i / size % channels);
    const std::uint32_t plane = by_size(static_cast<std::uint32_t>(i));
    return static_cast<int>(plane - by_channels(plane) * by_channels.d);
  }
};

// The sums over the threads of a block. All threads get them.
__device__ double2 block_sum(double2 v) {
  __shared__ double2 sums[sum_threads / 32];
  const auto over_warp = [&] {
    for (int step = 16; step > 0; step /= 2) {
      v.x += __shfl_xor_sync(~0u, v.x, step);
      v.y += __shfl_xor_sync(~0u, v.y, step);
    }
  };
  over_warp();
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = v;
  __syncthreads();
  v = sums[threadIdx.x % 32];
  over_warp();
  return v;
}

// The sums of f(index) over the elements of this block's channel.
template<class F>
__device__ double2 channel_sums(const Sizes& s, F&& f) {
  const std::int64_t count = s.images * s.size;
  double2 sum{0, 0};
#pragma unroll 4
  for (std::int64_t i = threadIdx.x; i < count; i += sum_threads) {
    const auto [a, b] = f(s.at(blockIdx.x, i));
    sum.x += static_cast<double>(a);
    sum.y += static_cast<double>(b);
  }
  return block_sum(sum);
}

// The terms of one element in the two sums of its channel.
template<class C>
struct Terms {
  C a, b;
};

// Computes mean and variance from the differences to the channel's first element, so that numbers far from 0
// lose few digits to cancellation.
template<class T>
__global__ void __launch_bounds__(sum_threads) add_moments(const Sizes s, const T* x, Sum<T>* moments) {
  const Sum<T> first = cuda::widen(x[s.at(blockIdx.x, 0)]);
  const double2 sums = channel_sums(s, [&](std::int64_t at) {
    const Sum<T> difference = cuda::widen(x[at]) - first;
    return Terms<double>{static_cast<double>(difference),
                         static_cast<double>(difference) * static_cast<double>(difference)};
  });
  if (threadIdx.x > 0) return;
  const double mean = sums.x / static_cast<double>(s.images * s.size),
               squares = sums.y / static_cast<double>(s.images * s.size);
  const double variance = squares - mean * mean;  // NaN stays
  moments[blockIdx.x] = static_cast<Sum<T>>(first + mean);
  moments[s.channels + blockIdx.x] = static_cast<Sum<T>>(variance < 0 ? 0 : variance);
}

template<class C>
__device__ C scale_of(C variance, double eps) {
  return 1 / sqrt(variance + static_cast<C>(eps));
}

template<class T>
__global__ void __launch_bounds__(sum_threads)
    add_gradients(const Sizes s, const T* g, const T* x, const Sum<T>* moments, Sum<T>* sums, double eps) {
  const Sum<T> mean = moments[blockIdx.x];
  const double2 both = channel_sums(s, [&](std::int64_t at) {
    const Sum<T> cotangent = cuda::widen(g[at]);
    return Terms<Sum<T>>{cotangent, cotangent * (cuda::widen(x[at]) - mean)};
  });
  if (threadIdx.x > 0) return;
  sums[blockIdx.x] = static_cast<Sum<T>>(both.x);
  sums[s.channels + blockIdx.x] =
      static_cast<Sum<T>>(both.y * scale_of(moments[s.channels + blockIdx.x], eps));
}

template<class T>
struct Normalize {
  const T *x, *weight, *bias;
  const Sum<T>* moments;
  T* y;
  double eps;
  __device__ void operator()(const Sizes& s, int c, std::int64_t i) const {
    const Sum<T> by = scale_of(moments[s.channels + c], eps) * (weight ? cuda::widen(weight[c]) : 1),
                 more = bias ? cuda::widen(bias[c]) : 0;
    y[i] = cuda::narrow<T>((cuda::widen(x[i]) - moments[c]) * by + more);
  }
};

template<class T>
struct Gradient {
  const T *g, *x, *weight;
  const Sum<T>*moments, *sums;
  T* to;
  double eps;
  __device__ void operator()(const Sizes& s, int c, std::int64_t i) const {
    const Sum<T> by = scale_of(moments[s.channels + c], eps), count = static_cast<Sum<T>>(s.images * s.size),
                 all = sums[c] / count, along = sums[s.channels + c] / count * by,
                 out = by * (weight ? cuda::widen(weight[c]) : 1);
    to[i] = cuda::narrow<T>((cuda::widen(g[i]) - all - (cuda::widen(x[i]) - moments[c]) * along) * out);
  }
};

// Calls f for each element.
template<class F>
__global__ void __launch_bounds__(threads) each(const Sizes s, const F f, std::int64_t n) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i < n) f(s, s.channel_of(i), i);
}

template<class F>
void for_each(const Tensor& y, const F& f) {
  cuda::launch(BatchNorm::name,
               {.device = y.device(), .grid = cuda::blocks_for(y.numel(), threads), .block = threads},
               each<F>, Sizes(Channels(y.shape())), f, y.numel());
}

}  // namespace

void cuda::channel_moments(const Tensor& x, const Tensor& moments) {
  const Channels s(x.shape());
  visit_floating(x.dtype(), [&]<class T>(Type<T>) {
    launch(BatchNorm::name,
           {.device = x.device(), .grid = static_cast<unsigned>(s.channels), .block = sum_threads},
           add_moments<T>, Sizes(s), x.raw<T>(), moments.raw<Sum<T>>());
  });
}

void BatchNorm::cuda(Inputs x, Tensor& y) const {
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    for_each(y,
             Normalize<T>{x[0].raw<T>(), x[2].raw<T>(), x[3].raw<T>(), x[1].raw<Sum<T>>(), y.raw<T>(), eps});
  });
}

std::optional<Grads> BatchNorm::fused_vjp_cuda(const Vjp& v) const {
  const BatchNormBackward b(v);
  const Channels s(b.x.shape());
  visit_floating(b.x.dtype(), [&]<class T>(Type<T>) {
    cuda::launch(name,
                 {.device = b.x.device(), .grid = static_cast<unsigned>(s.channels), .block = sum_threads},
                 add_gradients<T>, Sizes(s), b.g.raw<T>(), b.x.raw<T>(), b.moments.raw<Sum<T>>(),
                 b.sums.raw<Sum<T>>(), eps);
    for_each(b.x_grad, Gradient<T>{b.g.raw<T>(), b.x.raw<T>(), b.weight.raw<T>(), b.moments.raw<Sum<T>>(),
                                   b.sums.raw<Sum<T>>(), b.x_grad.raw<T>(), eps});
  });
  return b.grads(v);
}

}  // namespace bobbin
