// Chooses attention's kernels for a call, and enqueues them. Each dtype is a source file of its own, as
// compiling takes long.
#pragma once
#include "core/cuda/runtime.h"
#include "ops/attention/backward.cuh"
#include "ops/attention/cuda.h"
#include "ops/attention/forward.cuh"

namespace bobbin::cuda {

template<class T, int head_size, bool general>
void run_attention(Device device, int batch, bool backward, const AttentionArgs& p) {
  using Block = AttentionBlock<T, head_size>;
  const auto run = [&](auto kernel, int shared, std::int64_t rows, int heads) {
    const auto blocks = static_cast<unsigned>(ceil_div(rows, Block::rows) * batch * heads);
    launch("scaled_dot_product_attention",
           {.device = device,
            .grid = blocks,
            .block = Block::threads,
            .shared = static_cast<std::size_t>(shared)},
           kernel, p);
  };
  if (!backward) {
    run(attention_forward<T, head_size, general>, Block::shared_forward, p.l, p.heads);
  } else {
    run(attention_query_gradient<T, head_size, general>, Block::shared_backward, p.l, p.heads);
    run(attention_key_value_gradient<T, head_size, general>, Block::shared_backward, p.s, p.heads / p.group);
  }
}

template<class T>
void run_attention(Device device, int batch, bool backward, const AttentionArgs& p) {
  const bool narrow = p.d <= 64 && p.e <= 64;
  if (p.mask || !(p.scale > 0))
    narrow ? run_attention<T, 64, true>(device, batch, backward, p)
           : run_attention<T, 128, true>(device, batch, backward, p);
  else
    narrow ? run_attention<T, 64, false>(device, batch, backward, p)
           : run_attention<T, 128, false>(device, batch, backward, p);
}

}  // namespace bobbin::cuda
