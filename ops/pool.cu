// Pooling on a GPU: a thread for each element of the result.
#include "../core/cuda/runtime.h"
#include "pool_window.h"

namespace bobbin {
namespace {

constexpr int threads = 256;

template<class F>
__global__ void __launch_bounds__(threads) each(const F f, std::int64_t n) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i < n) f(i / f.count, static_cast<int>(i % f.count));
}

template<class Op>
void run(const Op& op, Inputs x, const Tensor& y, std::span<Tensor> aux = {}) {
  if (y.numel() == 0) return;
  pool::visit(op, x, y, aux, [&]<class F>(F f) {
    cuda::launch(op.name,
                 {.device = y.device(), .grid = cuda::blocks_for(y.numel(), threads), .block = threads},
                 each<F>, f, y.numel());
  });
}

}  // namespace

void MaxPool2d::cuda(Inputs x, Tensor& y, std::span<Tensor> aux) const { run(*this, x, y, aux); }
void MaxPool2dBackward::cuda(Inputs x, Tensor& y) const { run(*this, x, y); }
void AvgPool2d::cuda(Inputs x, Tensor& y) const { run(*this, x, y); }
void AvgPool2dBackward::cuda(Inputs x, Tensor& y) const { run(*this, x, y); }

}  // namespace bobbin
