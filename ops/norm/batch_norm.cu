// Batch normalisation on a GPU. One block sums a channel, in f64 and in a fixed order. The kernels that write
// elements use one thread per element.
#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"
#include "core/cuda/strided.cuh"
#include "ops/check.h"
#include "ops/norm/batch_norm.h"
#include "ops/norm/statistics.h"

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

// Computes mean and variance from the differences to an element of the channel, so that numbers far from 0
// lose few digits to cancellation. f64 holds the squares of all f32 numbers; an f64 channel whose sums it
// does not hold is added again, multiplied by a power of two.
template<class T>
__global__ void __launch_bounds__(sum_threads)
    add_moments(const Sizes s, const T* x, Sum<T>* running, RowStatistics<Sum<T>>* statistics, double eps) {
  const std::int64_t count = s.images * s.size;
  const auto element = [&](std::int64_t i) {
    return static_cast<double>(cuda::widen(x[s.at(blockIdx.x, i)]));
  };
  const double first = median(element(0), element(count / 2), element(count - 1)),
               share = 1 / static_cast<double>(count);
  double unit = 1;
  const auto sums_of = [&] {
    return channel_sums(s, [&](std::int64_t at) {
      const double d = static_cast<double>(cuda::widen(x[at])) * unit - first * unit;
      return Terms<double>{d, d * d};
    });
  };
  double2 sums = sums_of();
  if constexpr (std::is_same_v<T, double>) {
    const double v = sums.y * share + eps;  // the same in all threads
    if (!(v > 0x1p-900 && v < 0x1p900)) {
      unit = v < 1 ? 0x1p600 : 0x1p-600;
      __syncthreads();  // all threads have read the shared sums
      sums = sums_of();
    }
  }
  if (threadIdx.x > 0) return;
  using C = Sum<T>;
  const C shift = static_cast<C>(first * unit);
  statistics[blockIdx.x] = bobbin::statistics<C>(shift, sums.x, sums.y, share, eps * unit * unit, unit);
  const double mean = sums.x * share, variance = sums.y * share - mean * mean;  // NaN stays
  running[blockIdx.x] = static_cast<C>((first * unit + mean) / unit);
  running[s.channels + blockIdx.x] = static_cast<C>(variance < 0 ? 0 : variance / unit / unit);
}

template<class T>
__global__ void __launch_bounds__(sum_threads)
    add_gradients(const Sizes s, const T* g, const T* x, const RowStatistics<Sum<T>>* statistics,
                  Sum<T>* sums) {
  using C = Sum<T>;
  const RowStatistics<C> n = statistics[blockIdx.x];
  const double2 both = channel_sums(s, [&](std::int64_t at) {
    const C cotangent = cuda::widen(g[at]);
    return Terms<C>{cotangent, cotangent * n.normal(cuda::widen(x[at]))};
  });
  if (threadIdx.x > 0) return;
  const double share = 1 / static_cast<double>(s.images * s.size), sum[] = {both.x, both.y};
  for (int k = 0; k < 2; ++k) {
    C* const to = sums + k * s.channels + blockIdx.x;
    to[0] = static_cast<C>(sum[k]);
    to[2 * s.channels] = static_cast<C>(sum[k] * share);
  }
}

template<class T>
struct Normalize {
  const T *x, *weight, *bias;
  const RowStatistics<Sum<T>>* statistics;
  T* y;
  __device__ void operator()(const Sizes&, int c, std::int64_t i) const {
    const Sum<T> by = weight ? cuda::widen(weight[c]) : 1, more = bias ? cuda::widen(bias[c]) : 0;
    y[i] = cuda::narrow<T>(statistics[c].normal(cuda::widen(x[i])) * by + more);
  }
};

template<class T>
struct Gradient {
  const T *g, *x, *weight;
  const RowStatistics<Sum<T>>* statistics;
  const Sum<T>* sums;
  T* to;
  __device__ void operator()(const Sizes& s, int c, std::int64_t i) const {
    const RowStatistics<Sum<T>> n = statistics[c];
    const Sum<T> all = sums[2 * s.channels + c], along = sums[3 * s.channels + c],
                 by = weight ? cuda::widen(weight[c]) : 1;
    to[i] = cuda::narrow<T>((cuda::widen(g[i]) - all - n.normal(cuda::widen(x[i])) * along) * n.inverse *
                            n.unit * by);
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

void cuda::channel_moments(const Tensor& x, double eps, const ChannelMoments& out) {
  const Channels s(x.shape());
  visit_floating(x.dtype(), [&]<class T>(Type<T>) {
    launch(BatchNorm::name,
           {.device = x.device(), .grid = static_cast<unsigned>(s.channels), .block = sum_threads},
           add_moments<T>, Sizes(s), x.raw<T>(), out.running.raw<Sum<T>>(),
           out.statistics.raw<RowStatistics<Sum<T>>>(), eps);
  });
}

void BatchNorm::cuda(Inputs x, Tensor& y) const {
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    for_each(y, Normalize<T>{x[0].raw<T>(), x[2].raw<T>(), x[3].raw<T>(), x[1].raw<RowStatistics<Sum<T>>>(),
                             y.raw<T>()});
  });
}

std::optional<Grads> BatchNorm::fused_vjp_cuda(const Vjp& v) const {
  const BatchNormBackward b(v);
  const Channels s(b.x.shape());
  visit_floating(b.x.dtype(), [&]<class T>(Type<T>) {
    const auto* const statistics = b.statistics.raw<RowStatistics<Sum<T>>>();
    cuda::launch(name,
                 {.device = b.x.device(), .grid = static_cast<unsigned>(s.channels), .block = sum_threads},
                 add_gradients<T>, Sizes(s), b.g.raw<T>(), b.x.raw<T>(), statistics, b.sums.raw<Sum<T>>());
    for_each(b.x_grad, Gradient<T>{b.g.raw<T>(), b.x.raw<T>(), b.weight.raw<T>(), statistics,
                                   b.sums.raw<Sum<T>>(), b.x_grad.raw<T>()});
  });
  return b.grads(v);
}

}  // namespace bobbin
