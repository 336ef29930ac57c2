// Cross-entropy on a GPU: one kernel over the logits gives the losses and, where it is wanted, the gradient;
// one before it looks at the classes and counts what `mean` divides by, and one after it adds the losses up.
// A small problem is one block's, in one kernel. Nothing is read back.
#include <algorithm>

#include "../core/cuda/elements.h"
#include "../core/cuda/fault.h"
#include "../core/cuda/runtime.h"
#include "cross_entropy.h"
#include "cross_entropy_dense.cuh"

namespace bobbin {
namespace {

using cuda::CrossEntropyCall;

constexpr int threads = cuda::DenseTiles::threads;

// The sum over a block, in every thread.
__device__ double block_sum(double v) {
  __shared__ double of_warp[threads / 32];
  v = cuda::lanes_sum(v, 32);
  __syncthreads();  // what an earlier sum left has been read
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = v;
  __syncthreads();
  double total = 0;
  for (const double w : of_warp) total += w;
  return total;
}

// The sum of f(i) over [0, n), by the block that is `block` of `blocks`; all of them together cover n.
template<class F>
__device__ double partial_sum(const F& f, std::int64_t n, unsigned block, unsigned blocks) {
  double sum = 0;
#pragma unroll 4
  for (std::int64_t i = std::int64_t{block} * threads + threadIdx.x; i < n;
       i += std::int64_t{blocks} * threads)
    sum += f(i);
  return block_sum(sum);
}

// Zero between launches. What is enqueued on a GPU runs one after the other, so all launches share it.
__device__ unsigned blocks_done;

// Hands the sum of f(i) over [0, n) to f.take, always added up in the same order: the blocks leave their
// parts, and the last of them to be done adds those.
template<class F>
__global__ void __launch_bounds__(threads) sum_blocks(const F f, std::int64_t n, double* parts) {
  double sum = partial_sum(f, n, blockIdx.x, gridDim.x);
  if (gridDim.x > 1) {
    __shared__ bool last;
    if (threadIdx.x == 0) {
      parts[blockIdx.x] = sum;
      __threadfence();
      last = atomicInc(&blocks_done, gridDim.x - 1) == gridDim.x - 1;  // which sets it back to zero
      __threadfence();
    }
    __syncthreads();
    if (!last) return;
    sum = partial_sum([parts](std::int64_t i) { return __ldcg(parts + i); }, gridDim.x, 0, 1);
  }
  if (threadIdx.x == 0) f.take(sum);
}

template<class F>
void sum_up(std::string_view op, Device device, std::int64_t n, const F& f) {
  const std::int64_t most = 2 * cuda::properties(device).sms, enough = (n + 8 * threads - 1) / (8 * threads);
  const auto blocks = static_cast<unsigned>(std::clamp(enough, std::int64_t{1}, most));
  const Tensor parts = empty({blocks}, DType::f64, device);
  cuda::launch(op, {.device = device, .grid = blocks, .block = threads}, sum_blocks<F>, f, n,
               static_cast<double*>(parts.raw()));
}

// Reports rows whose class is out of range, and sums up what `mean` divides by: the weights of the classes of
// the rows not ignored.
template<class T>
struct Targets {
  CrossEntropyCall<T> call;
  cuda::FaultReporter report;
  __device__ double operator()(std::int64_t r) const {
    const unsigned y = call.class_of(r);
    if (y == call.outside) report(r, call.index[r]);
    return y == call.ignored ? 0 : static_cast<double>(call.weight_of(y));
  }
  __device__ void take(double sum) const {
    if (call.divisor.counted) call.divisor.set(sum);
  }
};

template<class T>
struct Loss {
  const cuda::Compute<T>* costs;
  cuda::Divisor divisor;
  T* loss;
  __device__ double operator()(std::int64_t r) const { return static_cast<double>(costs[r]); }
  __device__ void take(double sum) const {
    *loss = cuda::narrow<T>(static_cast<cuda::Compute<T>>(sum / divisor.get()));
  }
};

// All steps in one block. `dx` and `loss` are null where they are not wanted.
template<class T>
__global__ void __launch_bounds__(threads)
    small(const Targets<T> targets, const cuda::DenseTiles tiles, T* dx, T* loss) {
  const CrossEntropyCall<T>& call = targets.call;
  if (call.index) {
    const double sum = partial_sum(targets, call.rows, 0, 1);
    if (threadIdx.x == 0) targets.take(sum);
    __syncthreads();
  }
  cuda::dense_rows(call, tiles, dx);
  if (!loss) return;
  __syncthreads();
  const Loss<T> total{call.costs, call.divisor, loss};
  const double sum = partial_sum(total, call.rows, 0, 1);
  if (threadIdx.x == 0) total.take(sum);
}

template<class T>
__global__ void __launch_bounds__(threads)
    dense(const CrossEntropyCall<T> call, const cuda::DenseTiles tiles, T* dx) {
  cuda::dense_rows(call, tiles, dx);
}

struct Operands {
  Tensor x, target, weight, cotangent;  // cotangent: undefined where it is 1
  Tensor loss, dx;                      // undefined where they are not wanted
};

template<class T>
void run(const char* op, const CrossEntropyTerms& terms, const Operands& o) {
  using C = cuda::Compute<T>;
  const Device device = o.x.device();
  const auto address = [](const Tensor& t) { return t ? static_cast<T*>(t.raw()) : nullptr; };
  const bool indexed = o.target.dtype() == DType::i64, none = terms.reduction == Reduction::none,
             mean = terms.reduction == Reduction::mean;
  const std::int64_t classes = o.x.shape()[terms.axis], rows = o.x.numel() / classes;
  if (classes >= (std::int64_t{1} << 32) - 64) fail<ShapeError>(op, ": too many classes; got ", o.x.spec());

  CrossEntropyCall<T> call{.x = address(o.x),
                           .index = indexed ? static_cast<const std::int64_t*>(o.target.raw()) : nullptr,
                           .probabilities = indexed ? nullptr : address(o.target),
                           .weight = address(o.weight),
                           .cotangent = address(o.cotangent),
                           .row_cotangents = none,
                           .row_losses = none ? address(o.loss) : nullptr,
                           .costs = nullptr,
                           .rows = rows,
                           .classes = classes,
                           .inner = 1,
                           .ignore_index = terms.ignore_index,
                           .on = static_cast<C>(1 - terms.smoothing),
                           .spread = static_cast<C>(terms.smoothing / static_cast<double>(classes)),
                           .divisor = {}};
  for (int i = terms.axis + 1; i < o.x.rank(); ++i) call.inner *= o.x.shape()[i];
  Tensor costs, counted;
  if (o.loss && !none) {
    costs = empty({rows}, dtype_of<C>(), device);
    call.costs = static_cast<C*>(costs.raw());
  }
  if (mean && indexed) {
    counted = empty({2}, DType::f64, device);
    call.divisor.counted = static_cast<double*>(counted.raw());
  } else if (mean) {
    call.divisor = {.value = static_cast<double>(rows), .reciprocal = 1 / static_cast<double>(rows)};
  }
  T* const loss = costs ? address(o.loss) : nullptr;
  const Targets<T> targets{call, cuda::fault_reporter(device, op, "class", classes)};

  const cuda::DenseTiles tiles(rows, classes, call.inner);
  if (tiles.small(classes))
    return cuda::launch(op, {.device = device, .grid = 1, .block = threads}, small<T>, targets, tiles,
                        address(o.dx), loss);

  if (indexed) sum_up(op, device, rows, targets);
  const bool differ = !indexed || (o.weight && terms.smoothing != 0);
  if (differ)
    cuda::launch(op, {.device = device, .grid = cuda::blocks_for(tiles.count, 1), .block = threads}, dense<T>,
                 call, tiles, address(o.dx));
  else
    cuda::run_cross_entropy(op, o.x, o.dx, terms.axis, call);
  if (loss) sum_up(op, device, rows, Loss<T>{call.costs, call.divisor, loss});
}

void run(const char* op, const CrossEntropyTerms& terms, const Operands& o) {
  if (o.x.numel() == 0) {
    const bool mean = terms.reduction == Reduction::mean;
    if (o.loss) cuda::fill_elements(o.loss, mean ? std::numeric_limits<double>::quiet_NaN() : 0);
    return;
  }
  switch (o.x.dtype()) {
    case DType::f64:
      return run<double>(op, terms, o);
    case DType::bf16:
      return run<BFloat16>(op, terms, o);
    case DType::f16:
      return run<Half>(op, terms, o);
    default:
      return run<float>(op, terms, o);
  }
}

}  // namespace

void CrossEntropy::cuda(Inputs x, Tensor& loss, std::span<Tensor> aux) const {
  run("cross_entropy", terms,
      {.x = x[0],
       .target = x[1],
       .weight = x[2],
       .cotangent = {},
       .loss = loss,
       .dx = aux.empty() ? Tensor() : aux[0]});
}

void CrossEntropyBackward::cuda(Inputs x, Tensor& dx) const {
  run("cross_entropy_backward", terms,
      {.x = x[0], .target = x[1], .weight = x[2], .cotangent = x[3], .loss = {}, .dx = dx});
}

}  // namespace bobbin
