// Batch normalisation on a GPU: a block adds up a channel, in f64 and in a fixed order; what is done to each
// element then has a thread for each.
#include "../core/cuda/pack.cuh"
#include "../core/cuda/runtime.h"
#include "../core/cuda/walk.cuh"
#include "batch_norm.h"
#include "check.h"

namespace bobbin {
namespace {

constexpr int threads = 256, wide = 1024;

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
  /// Where element i of a channel lies.
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

// The sum over the threads of a block of `wide`, for all of them.
__device__ double block_sum(double v) {
  __shared__ double sums[wide / 32];
  for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(~0u, v, step);
  __syncthreads();  // what was there before has been read
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = v;
  __syncthreads();
  v = sums[threadIdx.x % 32];
  for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(~0u, v, step);
  return v;
}

// The sum of f(where an element lies) over the elements of this block's channel.
template<class F>
__device__ double channel_sum(const Sizes& s, F&& f) {
  const std::int64_t count = s.images * s.size;
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += wide) sum += static_cast<double>(f(s.at(blockIdx.x, i)));
  return block_sum(sum);
}

template<class T>
__global__ void __launch_bounds__(wide) add_moments(const Sizes s, const T* x, Sum<T>* moments) {
  const auto count = static_cast<double>(s.images * s.size);
  const auto mean =
      static_cast<Sum<T>>(channel_sum(s, [&](std::int64_t at) { return cuda::widen(x[at]); }) / count);
  const double squares = channel_sum(s, [&](std::int64_t at) {
    const Sum<T> centred = cuda::widen(x[at]) - mean;
    return centred * centred;
  });
  if (threadIdx.x > 0) return;
  moments[blockIdx.x] = mean;
  moments[s.channels + blockIdx.x] = static_cast<Sum<T>>(squares / count);
}

template<class C>
__device__ C scale_of(C variance, double eps) {
  return 1 / sqrt(variance + static_cast<C>(eps));
}

template<class T>
__global__ void __launch_bounds__(wide)
    add_gradients(const Sizes s, const T* g, const T* x, const Sum<T>* moments, Sum<T>* sums, double eps) {
  const Sum<T> mean = moments[blockIdx.x];
  const double all = channel_sum(s, [&](std::int64_t at) { return cuda::widen(g[at]); });
  const double along =
      channel_sum(s, [&](std::int64_t at) { return cuda::widen(g[at]) * (cuda::widen(x[at]) - mean); });
  if (threadIdx.x > 0) return;
  sums[blockIdx.x] = static_cast<Sum<T>>(all);
  sums[s.channels + blockIdx.x] =
      static_cast<Sum<T>>(along * scale_of(moments[s.channels + blockIdx.x], eps));
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

template<class T>
T* data(const Tensor& t) {
  return t ? static_cast<T*>(t.raw()) : nullptr;
}

}  // namespace

void cuda::channel_moments(const Tensor& x, const Tensor& moments) {
  const Channels s(x.shape());
  visit_floating(x.dtype(), [&]<class T>(Type<T>) {
    launch(BatchNorm::name, {.device = x.device(), .grid = static_cast<unsigned>(s.channels), .block = wide},
           add_moments<T>, Sizes(s), data<T>(x), data<Sum<T>>(moments));
  });
}

void BatchNorm::cuda(Inputs x, Tensor& y) const {
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    for_each(y,
             Normalize<T>{data<T>(x[0]), data<T>(x[2]), data<T>(x[3]), data<Sum<T>>(x[1]), data<T>(y), eps});
  });
}

void BatchNorm::backward_cuda(const Cotangent& v, const Tensor& x_grad, const Tensor& sums) const {
  const Channels s(v.x.shape());
  visit_floating(v.x.dtype(), [&]<class T>(Type<T>) {
    cuda::launch(name, {.device = v.x.device(), .grid = static_cast<unsigned>(s.channels), .block = wide},
                 add_gradients<T>, Sizes(s), data<T>(v.g), data<T>(v.x), data<Sum<T>>(v.moments),
                 data<Sum<T>>(sums), eps);
    for_each(x_grad, Gradient<T>{data<T>(v.g), data<T>(v.x), data<T>(v.weight), data<Sum<T>>(v.moments),
                                 data<Sum<T>>(sums), data<T>(x_grad), eps});
  });
}

}  // namespace bobbin
