// The norm of many tensors on a GPU: a block reduces one range of a tensor, and one more block what these
// leave.
#include <cmath>

#include "autograd/optim/gradients.h"
#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"
#include "ops/reduce/reducers.h"

namespace bobbin::optim {
namespace {

constexpr int threads = 256;
constexpr int packs = 16;  // of a thread
constexpr int loads = 4;   // of a thread at the same time
constexpr int total_threads = 1024;

template<class T>
constexpr int stretch = threads* packs* cuda::Pack<T>::size;  // elements of a block

// What a block leaves: the accumulator of WideNorm, or of MaxNorm, which has no b.
struct Partial {
  double a, b;
};

// Tensors of one launch: the arguments of a kernel have up to 4 KB.
template<class T>
struct Parts {
  struct Part {
    const T* x;
    std::int64_t n;
    unsigned first;    // index of its first block in this launch
    unsigned partial;  // index of that block's result
  };
  static constexpr int capacity = (4096 - 64) / sizeof(Part);
  Part part[capacity];
  int count;
};

// The reducer of the p-norm: squares of f32 fit in f64, those of f64 have to be scaled.
template<class T>
using Squares =
    std::conditional_t<std::is_same_v<T, double>, reducer::WideNorm, reducer::Norm<reducer::Power::two>>;

// Combines the accumulators of the threads of a block, in a fixed order; thread 0 has the result.
template<int n, class R>
__device__ Partial combined(const R& f, typename R::A a, typename R::B b) {
  __shared__ typename R::A as[n / 32];
  __shared__ typename R::B bs[n / 32];
  const auto warp = [&](int lanes) {
    for (int step = lanes / 2; step > 0; step /= 2) {
      const auto a2 = __shfl_down_sync(~0u, a, step);
      const auto b2 = __shfl_down_sync(~0u, b, step);
      f.combine(a, b, 0, a2, b2, 0);
    }
  };
  warp(32);
  if (threadIdx.x % 32 == 0) as[threadIdx.x / 32] = a, bs[threadIdx.x / 32] = b;
  __syncthreads();
  if (threadIdx.x >= 32) return {};
  f.init(a, b, 0);
  if (threadIdx.x < n / 32) a = as[threadIdx.x], b = bs[threadIdx.x];
  warp(n / 32);
  return {a, static_cast<double>(b)};
}

template<class R, class T>
__global__ void __launch_bounds__(threads)
    reduce_parts(const __grid_constant__ Parts<T> parts, Partial* partials) {
  int k = 0;  // binary search: the last part whose first block is not after this one
  for (int half = 128; half > 0; half /= 2)
    if (k + half < parts.count && parts.part[k + half].first <= blockIdx.x) k += half;
  const auto part = parts.part[k];
  const unsigned block = blockIdx.x - part.first;
  const std::int64_t begin = std::int64_t{block} * stretch<T>, left = part.n - begin;
  const T* x = part.x + begin;

  cuda::await_previous();
  using Pack = cuda::Pack<T>;
  const R f{};
  typename R::A a;
  typename R::B b{};
  f.init(a, b, 0);
  if (left >= stretch<T> && reinterpret_cast<std::uintptr_t>(x) % 16 == 0) {
    for (int i = 0; i < packs; i += loads) {
      Pack v[loads];
#pragma unroll
      for (int j = 0; j < loads; ++j)
        v[j] = reinterpret_cast<const Pack*>(x)[(i + j) * threads + threadIdx.x];
#pragma unroll
      for (int j = 0; j < loads; ++j)
#pragma unroll
        for (int l = 0; l < Pack::size; ++l) f.reduce(a, b, v[j].v[l], 0);
    }
  } else {
    const int n = static_cast<int>(left < stretch<T> ? left : stretch<T>);
    for (int i = threadIdx.x; i < n; i += threads) f.reduce(a, b, x[i], 0);
  }
  const Partial sum = combined<threads>(f, a, b);
  if (threadIdx.x == 0) partials[part.partial + block] = sum;
}

template<class R>
__global__ void __launch_bounds__(total_threads)
    reduce_partials(const Partial* partials, int n, double* norm) {
  cuda::await_previous();
  const R f{};
  typename R::A a;
  typename R::B b{};
  f.init(a, b, 0);
  for (int i = threadIdx.x; i < n; i += total_threads)
    f.combine(a, b, 0, partials[i].a, static_cast<typename R::B>(partials[i].b), 0);
  const Partial sum = combined<total_threads>(f, a, b);
  if (threadIdx.x == 0) *norm = f.project(sum.a, static_cast<typename R::B>(sum.b), 0) + 0.0;  // never -0
}

// The number of the blocks that reduce a tensor.
template<class T>
unsigned blocks_of(const Tensor& x) {
  return cuda::blocks_for(x.numel(), stretch<T>);
}

template<class R, class T>
void reduce_on_gpu(std::span<const Tensor> all, Partial* partials) {
  static_assert(sizeof(Parts<T>) <= 4096 - 16 && Parts<T>::capacity <= 256);
  Parts<T> parts{};
  unsigned blocks = 0, partial = 0;
  const auto launch = [&] {
    cuda::launch("total_norm", {.device = all[0].device(), .grid = blocks, .block = threads, .early = true},
                 reduce_parts<R, T>, parts, partials);
    parts.count = 0;
    blocks = 0;
  };
  for (const Tensor& x : all) {
    const bool own = x.dtype() == dtype_of<T>();
    const unsigned n = x.dtype() == DType::f64 ? blocks_of<double>(x) : blocks_of<float>(x);
    if (own && n > 0) {
      parts.part[parts.count++] = {x.raw<T>(), x.numel(), blocks, partial};
      blocks += n;
      if (parts.count == Parts<T>::capacity) launch();
    }
    partial += n;
  }
  if (blocks > 0) launch();
}

}  // namespace

void norm_on_gpu(std::span<const Tensor> all, double p, const Tensor& norm) {
  std::int64_t n = 0;
  for (const Tensor& x : all) n += x.dtype() == DType::f64 ? blocks_of<double>(x) : blocks_of<float>(x);
  const Tensor memory = empty({2 * n}, DType::f64, norm.device());
  auto* partials = reinterpret_cast<Partial*>(memory.raw<double>());
  const auto total = [&](auto kernel) {
    cuda::launch("total_norm", {.device = norm.device(), .grid = 1, .block = total_threads, .early = true},
                 kernel, partials, static_cast<int>(n), norm.raw<double>());
  };
  if (std::isinf(p)) {
    reduce_on_gpu<reducer::MaxNorm, float>(all, partials);
    reduce_on_gpu<reducer::MaxNorm, double>(all, partials);
    return total(reduce_partials<reducer::MaxNorm>);
  }
  reduce_on_gpu<Squares<float>, float>(all, partials);
  reduce_on_gpu<Squares<double>, double>(all, partials);
  total(reduce_partials<reducer::WideNorm>);
}

}  // namespace bobbin::optim
