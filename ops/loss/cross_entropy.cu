// Cross-entropy on a GPU: one kernel over the logits gives the losses and, where it is wanted, the gradient;
// one before it looks at the classes and counts what `mean` divides by, and one after it adds the losses up.
// They overlap: the rows are on their way while the classes are counted. A small problem is one block's, in
// one kernel. Nothing is read back.
#include <algorithm>
#include <optional>

#include "core/ceil_div.h"
#include "core/cuda/backend.h"
#include "core/cuda/runtime.h"
#include "ops/cuda/rows/mailbox.h"
#include "ops/loss/cross_entropy.h"
#include "ops/loss/cross_entropy_dense_targets.cuh"
#include "ops/loss/cross_entropy_one_block.cuh"

namespace bobbin {
namespace {

using cuda::CrossEntropyCall, cuda::Spread;

constexpr int threads = 1024, at_once = 16;  // of a block that adds up; numbers that a thread loads together

// The sum of f over [0, n), by the block that is `block` of `blocks`, in its first thread; all of them
// together cover n.
template<class F>
__device__ double partial_sum(const F& f, std::int64_t n, unsigned block, unsigned blocks) {
  const std::int64_t step = std::int64_t{blocks} * threads;
  typename F::Sum sum = 0;
  for (std::int64_t i = std::int64_t{block} * threads + threadIdx.x; i < n; i += at_once * step) {
    decltype(f.load(i)) loaded[at_once];
#pragma unroll
    for (int k = 0; k < at_once; ++k) loaded[k] = i + k * step < n ? f.load(i + k * step) : f.nothing();
    sum += f.sum(loaded, i, step);
  }
  return cuda::block_sum(static_cast<double>(sum));
}

// Hands the sum of f over [0, n) to f.take, always added up in the same order: the blocks leave their parts,
// and the last of them to be done adds those. `done` is zero between launches.
template<class F>
__global__ void __launch_bounds__(threads)
    sum_blocks(const F f, std::int64_t n, double* parts, unsigned* done) {
  cuda::await_previous();
  const auto early = f.early();
  double sum = partial_sum(f, n, blockIdx.x, gridDim.x);
  if (gridDim.x > 1) {
    __shared__ bool last;
    if (threadIdx.x == 0) {
      parts[blockIdx.x] = sum;
      __threadfence();
      last = atomicInc(done, gridDim.x - 1) == gridDim.x - 1;  // which sets it back to zero
      __threadfence();
    }
    __syncthreads();
    if (!last) return;
    sum = cuda::block_sum(threadIdx.x < gridDim.x ? __ldcg(parts + threadIdx.x) : 0);
  }
  if (threadIdx.x == 0) f.take(sum, early);
}

// What a sum keeps where more blocks than one add it up.
struct Parts {
  unsigned blocks;
  Tensor parts;
  unsigned* done = nullptr;

  Parts(Device device, std::int64_t n) {
    // Blocks that wait for each other take as long as two more rounds of one.
    const std::int64_t round = at_once * threads, enough = n <= 2 * round ? 1 : ceil_div(n, round);
    blocks = static_cast<unsigned>(std::min<std::int64_t>(enough, threads));
    if (blocks == 1) return;
    parts = empty({blocks}, DType::f64, device);
    done = reinterpret_cast<unsigned*>(cuda::board(device).words + 1);  // no kernel of rows uses it meanwhile
  }
};

template<class F>
void sum_up(std::string_view op, Device device, std::int64_t n, const F& f, const Parts& p) {
  cuda::launch(op, {.device = device, .grid = p.blocks, .block = threads, .early = true}, sum_blocks<F>, f, n,
               p.parts.raw<double>(), p.done);
}

// Reports rows whose class is out of range, and sums up what `mean` divides by: the weights of the classes of
// the rows not ignored.
template<class T, bool weighted>
struct Targets {
  using Sum = std::conditional_t<weighted, double, int>;
  CrossEntropyCall<T> call;
  cuda::FaultReporter report;
  __device__ int early() const { return 0; }
  __device__ std::int64_t load(std::int64_t r) const { return call.index[r]; }
  __device__ std::int64_t nothing() const { return call.ignore_index; }
  __device__ Sum sum(const std::int64_t (&index)[at_once], std::int64_t r, std::int64_t step) const {
    Sum sum = 0;
    bool outside = false;
#pragma unroll
    for (int k = 0; k < at_once; ++k) {
      const unsigned y = call.named(index[k]);
      outside |= y == call.outside;
      if constexpr (weighted)
        sum += y == call.ignored ? 0 : static_cast<double>(call.weight_of(y));
      else
        sum += y != call.ignored;
    }
    if (outside)
#pragma unroll 1
      for (; r < call.rows; r += step)  // those of later rounds as well: the first is what stays
        if (call.class_of(r) == call.outside) report(r, call.index[r]);
    return sum;
  }
  __device__ void take(double sum, int) const {
    if (call.divisor.counted) call.divisor.set(sum);
  }
};

template<class T>
struct Loss {
  using C = cuda::Compute<T>;
  using Sum = double;
  const C* costs;
  cuda::Divisor divisor;
  T* loss;
  __device__ double early() const { return divisor.get(); }
  __device__ C load(std::int64_t r) const { return costs[r]; }
  __device__ C nothing() const { return 0; }
  __device__ double sum(const C (&cost)[at_once], std::int64_t, std::int64_t) const {
    double sum = 0;
#pragma unroll
    for (int k = 0; k < at_once; k += 4)  // few conversions: they are slow
      sum += static_cast<double>((cost[k] + cost[k + 1]) + (cost[k + 2] + cost[k + 3]));
    return sum;
  }
  __device__ void take(double sum, double by) const { *loss = cuda::narrow<T>(static_cast<C>(sum / by)); }
};

struct Operands {
  Tensor x, target, weight, cotangent;  // cotangent: undefined where it is 1
  Tensor loss, dx;                      // undefined where they are not wanted
};

template<class T>
void run(const char* op, const CrossEntropyTerms& terms, const Operands& o) {
  using C = cuda::Compute<T>;
  const Device device = o.x.device();
  const bool indexed = o.target.dtype() == DType::i64, none = terms.reduction == Reduction::none,
             mean = terms.reduction == Reduction::mean;
  const std::int64_t classes = o.x.shape()[terms.axis], rows = o.x.numel() / classes;
  if (classes >= (std::int64_t{1} << 32) - 64) fail<ShapeError>(op, ": too many classes; got ", o.x.spec());

  CrossEntropyCall<T> call{.x = o.x.raw<T>(),
                           .index = indexed ? o.target.raw<std::int64_t>() : nullptr,
                           .probabilities = indexed ? nullptr : o.target.raw<T>(),
                           .weight = o.weight.raw<T>(),
                           .cotangent = o.cotangent.raw<T>(),
                           .row_cotangents = none,
                           .row_losses = none ? o.loss.raw<T>() : nullptr,
                           .costs = nullptr,
                           .rows = rows,
                           .classes = classes,
                           .inner = 1,
                           .ignore_index = terms.ignore_index,
                           .on = static_cast<C>(1 - terms.smoothing),
                           .spread = static_cast<C>(terms.smoothing / static_cast<double>(classes)),
                           .divisor = {}};
  for (int i = terms.axis + 1; i < o.x.rank(); ++i) call.inner *= o.x.shape()[i];
  if (mean && !indexed)
    call.divisor = {.value = static_cast<double>(rows), .reciprocal = 1 / static_cast<double>(rows)};
  const cuda::FaultReporter report = cuda::fault_reporter(device, op, "class", classes);
  const bool smooth = terms.smoothing != 0, differ = !indexed || (o.weight && smooth);

  if (const cuda::SmallRows small(rows, classes); small.fit) {
    const cuda::Launch block{
        .device = device, .grid = 1, .block = static_cast<unsigned>(small.threads), .early = true};
    return cuda::launch(
        op, block, differ || smooth ? cuda::small_rows<T, Spread::dense> : cuda::small_rows<T, Spread::none>,
        call, report, small.lane_bits, mean && indexed, o.dx.raw<T>(), none ? nullptr : o.loss.raw<T>());
  }

  // All there is to prepare comes first: the rows begin right after what counts the classes.
  const bool losses = o.loss && !none;
  const Parts parts(device, rows);
  Tensor costs, counted;
  if (losses) costs = empty({rows}, dtype_of<C>(), device), call.costs = costs.raw<C>();
  if (mean && indexed) {
    counted = empty({2}, DType::f64, device);
    call.divisor.counted = counted.raw<double>();
  }
  std::optional<cuda::RowOperands> operands;
  if (!differ) operands.emplace(std::span(&o.x, 1), o.dx, terms.axis);

  if (indexed && o.weight)
    sum_up(op, device, rows, Targets<T, true>{call, report}, parts);
  else if (indexed)
    sum_up(op, device, rows, Targets<T, false>{call, report}, parts);
  if (differ) {
    const cuda::DenseTiles tiles(rows, classes, call.inner);
    const cuda::Launch blocks{.device = device,
                              .grid = cuda::blocks_for(tiles.count, 1),
                              .block = cuda::DenseTiles::threads,
                              .early = indexed};
    cuda::launch(op, blocks, cuda::dense_rows<T>, call, tiles, o.dx.raw<T>());
  } else if (smooth) {
    cuda::run_cross_entropy<T, Spread::even>(op, *operands, call, indexed);
  } else {
    cuda::run_cross_entropy<T, Spread::none>(op, *operands, call, indexed);
  }
  if (losses) sum_up(op, device, rows, Loss<T>{call.costs, call.divisor, o.loss.raw<T>()}, parts);
}

void run(const char* op, const CrossEntropyTerms& terms, const Operands& o) {
  if (o.x.numel() == 0) {
    const bool mean = terms.reduction == Reduction::mean;
    if (o.loss) cuda::fill_elements(o.loss, mean ? std::numeric_limits<double>::quiet_NaN() : 0);
    return;
  }
  visit_floating(o.x.dtype(), [&]<class T>(Type<T>) { run<T>(op, terms, o); });
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
