// Runs elementwise CPU kernels block by block, on several threads.
#include "ops/elementwise/map.h"

#include <bobbin/parallel.h>

#include <algorithm>

#include "core/ceil_div.h"
#include "core/strided_copy.h"

namespace bobbin {
namespace {

constexpr std::size_t max_operands = 3;
constexpr std::int64_t tile = 16 * block_size;  // elements per task of a thread

}  // namespace

void map_blocks(Inputs x, const DType* types, const Tensor& y, DType out_type, BlockKernel kernel,
                const void* functor) {
  const std::int64_t count = y.numel();
  if (count == 0) return;
  auto views = [&]<std::size_t... i>(std::index_sequence<i...>) {
    return std::array{StridedView(x[std::min(i, x.size() - 1)], y.shape())...};
  }
  (std::make_index_sequence<max_operands>());
  const StridedView target(y);

  auto run = [&](std::int64_t begin, std::int64_t end) {
    alignas(64) char scratch[max_operands + 1][block_size * 8];
    for (std::int64_t first = begin; first < end; first += block_size) {
      const std::int64_t n = std::min(block_size, end - first);
      const void* in[max_operands];
      for (std::size_t k = 0; k < x.size(); ++k) in[k] = views[k].read(first, n, types[k], scratch[k]);
      if (out_type == y.dtype()) {
        kernel(functor, in, y.raw<char>() + first * size_of(out_type), n);
      } else {
        kernel(functor, in, scratch[max_operands], n);
        target.write(first, n, out_type, scratch[max_operands]);
      }
    }
  };
  if (count <= tile) return run(0, count);
  parallel_for(ceil_div(count, tile),
               [&](std::int64_t t) { run(t * tile, std::min(count, (t + 1) * tile)); });
}

}  // namespace bobbin
