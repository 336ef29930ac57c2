// Chooses the tile and the division of k for small matrix products, and launches them.
#include <algorithm>

#include "core/ceil_div.h"
#include "core/cuda/runtime.h"
#include "ops/matmul/blas.h"
#include "ops/matmul/small_product.cuh"

namespace bobbin::cuda {
namespace {

using namespace small_gemm;

SmallOperand small_operand(const Operand& x, std::int64_t extent, std::int64_t inner, bool along_k) {
  const bool vectorized = is_aligned(x.data) && is_aligned(x.gate) && x.stride % 4 == 0 && x.next % 4 == 0 &&
                          (along_k ? inner : extent) % 4 == 0;
  return {static_cast<const float*>(x.data),
          static_cast<const float*>(x.gate),
          x.next,
          static_cast<int>(x.stride),
          static_cast<int>(extent),
          along_k,
          vectorized};
}

// A kernel for tiles of one size. `cost` is the time in nanoseconds that a block that is alone on a
// multiprocessor takes for each value of k, measured on an H200.
struct TileShape {
  int height, width, cost;
  void (*kernel)(Problems);
  int (*floats)(bool a_along, bool b_along, bool gated, int k_per_block);

  std::int64_t tiles(const Gemm& p) const {
    return p.batch * ceil_div(p.rows, height) * ceil_div(p.cols, width);
  }
};
template<int height, int width>
constexpr TileShape tile_shape(int cost) {
  return {height, width, cost, small_products<height, width>, floats_of<height, width>};
}
const TileShape shapes[] = {tile_shape<16, 16>(6), tile_shape<16, 32>(8), tile_shape<32, 32>(11),
                            tile_shape<32, 64>(20)};

// Whether the kernels compute it. Offsets within a matrix have 32 bits.
bool is_supported(const Gemm& p) {
  constexpr std::int64_t most = 1 << 24;
  const auto fits_32_bits = [&](const Operand& x) {
    return x.stride * (std::max({p.rows, p.cols, p.inner}) + 2 * segment) < std::int64_t{1} << 31;
  };
  return p.dtype == DType::f32 && !p.tf32 && !(p.row_sums && (p.batch > 1 || !p.a.transposed)) &&
         std::min(p.rows, p.cols) > 1 &&  // cuBLAS has special kernels for vectors
         std::max({p.rows, p.cols, p.inner, p.batch}) <= most && fits_32_bits(p.a) && fits_32_bits(p.b) &&
         shapes[0].tiles(p) <= most;
}

// The tile and, for each product, the blocks that divide its k.
struct Choice {
  const TileShape* shape = nullptr;
  std::array<int, 2> splits{};
  int cluster = 1;
  std::int64_t blocks = 0;
  std::int64_t cost = 11 * 1024;  // in nanoseconds; beyond, cuBLAS is as fast
};

// The time in nanoseconds that this many blocks of a cluster take to add their sums.
std::int64_t joining(int splits) { return splits == 1 ? 0 : splits == 2 ? 900 : splits == 4 ? 1400 : 1900; }

// The fastest tile shape and division of k, among those with at most one block per multiprocessor. Each
// product has `splits` blocks per tile, or one. Clusters of four and more leave some multiprocessors of each
// GPC unused, so they may use only half of all; a multiprocessor holds one block of the widest tiles, so
// these have clusters of two at most.
Choice choose(std::span<const Gemm> products, const Properties& chip) {
  Choice best;
  for (const TileShape& s : shapes) {
    std::array<std::int64_t, 2> tiles{};
    for (std::size_t i = 0; i < products.size(); ++i) tiles[i] = s.tiles(products[i]);
    if (tiles[0] + tiles[1] > chip.sms) continue;
    for (int splits = 1; splits <= (chip.major < 9 ? 1 : s.width == 64 ? 2 : 8); splits *= 2) {
      Choice now{&s, {1, 1}, splits, tiles[0] + tiles[1], 0};
      for (std::size_t i = 0; i < products.size(); ++i) {
        const std::int64_t more = (splits - 1) * tiles[i];
        const auto cost = [&](int r) { return products[i].inner / r * s.cost + joining(r); };
        if (now.blocks + more <= chip.sms && (splits < 4 || 2 * splits * tiles[i] <= chip.sms) &&
            cost(splits) < cost(1)) {
          now.splits[i] = splits;
          now.blocks += more;
        }
        now.cost = std::max(now.cost, cost(now.splits[i]));
      }
      if (now.cost < best.cost) best = now;
    }
  }
  return best;
}

Problem problem_of(const Gemm& p, const TileShape& s, int splits) {
  Problem out{};
  out.a = small_operand(p.a, p.rows, p.inner, !p.a.transposed);
  out.b = small_operand(p.b, p.cols, p.inner, p.b.transposed);
  out.y = static_cast<float*>(p.y);
  out.bias = static_cast<const float*>(p.bias);
  out.row_sums = static_cast<float*>(p.row_sums);
  out.y_stride = p.y_stride;
  out.y_next = p.y_next;
  out.k_per_block = static_cast<int>(ceil_div(p.inner, 4 * splits) * 4);  // whole vectors
  out.inner = static_cast<int>(p.inner);
  out.splits = splits;
  out.tiles = static_cast<unsigned>(s.tiles(p));
  out.by_tiles = Divider(static_cast<std::uint32_t>(ceil_div(p.rows, s.height) * ceil_div(p.cols, s.width)));
  out.by_across = Divider(static_cast<std::uint32_t>(ceil_div(p.cols, s.width)));
  out.relu = p.relu;
  out.vectorized = is_aligned(p.y) && p.y_stride % 4 == 0 && p.y_next % 4 == 0 && p.cols % 4 == 0;
  return out;
}

}  // namespace

bool multiply_small(std::string_view op, Device d, std::span<const Gemm> products) {
  const Properties& chip = properties(d);
  if (!std::ranges::all_of(products, is_supported)) return false;
  const Choice best = choose(products, chip);
  if (!best.shape) return false;

  Problems problems{};
  int floats = 0;
  std::int64_t blocks = 0;
  for (std::size_t i = 0; i < products.size(); ++i) {
    const Problem& p = problems.all[i] = problem_of(products[i], *best.shape, best.splits[i]);
    floats = std::max(floats, best.shape->floats(p.a.along_k, p.b.along_k, p.a.gate, p.k_per_block));
    blocks += ceil_div(std::int64_t{p.tiles} * p.splits, best.cluster) * best.cluster;
    if (i == 0) problems.first_blocks = static_cast<unsigned>(blocks);
  }
  std::int64_t shared = floats * std::int64_t{sizeof(float)};
  // While the previous kernel's blocks finish, the hardware could place two blocks on one multiprocessor and
  // none on another. With this much shared memory only one fits.
  if (best.cluster == 1 && blocks > chip.sms / 2) shared = std::max(shared, chip.shared_per_sm / 2);
  if (shared > chip.shared_per_block) return false;
  launch(op,
         {.device = d,
          .grid = static_cast<unsigned>(blocks),
          .block = threads,
          .shared = static_cast<std::size_t>(shared),
          .cluster = best.cluster,
          .early = true},
         best.shape->kernel, problems);
  return true;
}

}  // namespace bobbin::cuda
