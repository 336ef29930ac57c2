// Chooses how products too small to fill the chip with cuBLAS's tiles are spread over it.
#include <algorithm>

#include "core/ceil_div.h"
#include "core/cuda/runtime.h"
#include "ops/matmul/blas.h"
#include "ops/matmul/small_product.cuh"

namespace bobbin::cuda {
namespace {

using namespace small;

Side side_of(const Operand& x, std::int64_t outer, std::int64_t inner, bool along) {
  const bool packs = is_aligned(x.data) && is_aligned(x.gate) && x.stride % 4 == 0 && x.next % 4 == 0 &&
                     (along ? inner : outer) % 4 == 0;
  return {static_cast<const float*>(x.data),
          static_cast<const float*>(x.gate),
          x.next,
          static_cast<int>(x.stride),
          static_cast<int>(outer),
          along,
          packs};
}

// A tile, and what a term of the sums costs a block that has a multiprocessor to itself, in nanoseconds
// (H200).
struct TileShape {
  int height, width, cost;
  void (*kernel)(Work);
  int (*floats)(bool a_along, bool b_along, bool gated, int share);

  std::int64_t tiles(const Product& p) const {
    return p.batch * ceil_div(p.rows, height) * ceil_div(p.cols, width);
  }
};
template<int height, int width>
constexpr TileShape tile_shape(int cost) {
  return {height, width, cost, small_products<height, width>, floats_of<height, width>};
}
const TileShape shapes[] = {tile_shape<16, 16>(6), tile_shape<16, 32>(8), tile_shape<32, 32>(11),
                            tile_shape<32, 64>(20)};

// Whether the kernel can compute it, with offsets within a matrix of 32 bits.
bool can(const Product& p) {
  constexpr std::int64_t most = 1 << 24;
  const auto near = [&](const Operand& x) {
    return x.stride * (std::max({p.rows, p.cols, p.inner}) + 2 * segment) < std::int64_t{1} << 31;
  };
  return p.dtype == DType::f32 && !p.tf32 && !(p.row_sums && (p.batch > 1 || !p.a.transposed)) &&
         std::min(p.rows, p.cols) > 1 &&  // cuBLAS has kernels of its own for vectors
         std::max({p.rows, p.cols, p.inner, p.batch}) <= most && near(p.a) && near(p.b) &&
         shapes[0].tiles(p) <= most;
}

struct Plan {
  const TileShape* shape = nullptr;
  std::array<int, 2> ranks{};
  int cluster = 1;
  std::int64_t blocks = 0;
  std::int64_t cost = 11 * 1024;  // in nanoseconds; beyond, cuBLAS is as fast
};

// What so many blocks of a cluster cost that join their sums.
std::int64_t joining(int ranks) { return ranks == 1 ? 0 : ranks == 2 ? 900 : ranks == 4 ? 1400 : 1900; }

// The fastest of the shapes whose tiles find a multiprocessor each, and of the numbers of blocks that share
// the sums of each tile: a product has so many, or one. Clusters of four leave some multiprocessors of the
// chip's parts over, and wide tiles let no second block in.
Plan plan(std::span<const Product> products, const Properties& chip) {
  Plan best;
  for (const TileShape& s : shapes) {
    std::array<std::int64_t, 2> tiles{};
    for (std::size_t i = 0; i < products.size(); ++i) tiles[i] = s.tiles(products[i]);
    if (tiles[0] + tiles[1] > chip.sms) continue;
    for (int ranks = 1; ranks <= (chip.major < 9 ? 1 : s.width == 64 ? 2 : 8); ranks *= 2) {
      Plan now{&s, {1, 1}, ranks, tiles[0] + tiles[1], 0};
      for (std::size_t i = 0; i < products.size(); ++i) {
        const std::int64_t more = (ranks - 1) * tiles[i];
        const auto cost = [&](int r) { return products[i].inner / r * s.cost + joining(r); };
        if (now.blocks + more <= chip.sms && (ranks < 4 || 2 * ranks * tiles[i] <= chip.sms) &&
            cost(ranks) < cost(1)) {
          now.ranks[i] = ranks;
          now.blocks += more;
        }
        now.cost = std::max(now.cost, cost(now.ranks[i]));
      }
      if (now.cost < best.cost) best = now;
    }
  }
  return best;
}

Piece piece_of(const Product& p, const TileShape& s, int ranks) {
  Piece piece{};
  piece.a = side_of(p.a, p.rows, p.inner, !p.a.transposed);
  piece.b = side_of(p.b, p.cols, p.inner, p.b.transposed);
  piece.y = static_cast<float*>(p.y);
  piece.bias = static_cast<const float*>(p.bias);
  piece.row_sums = static_cast<float*>(p.row_sums);
  piece.y_stride = p.y_stride;
  piece.y_next = p.y_next;
  piece.share = static_cast<int>(ceil_div(p.inner, 4 * ranks) * 4);  // whole packs
  piece.inner = static_cast<int>(p.inner);
  piece.ranks = ranks;
  piece.tiles = static_cast<unsigned>(s.tiles(p));
  piece.by_tiles =
      Divider(static_cast<std::uint32_t>(ceil_div(p.rows, s.height) * ceil_div(p.cols, s.width)));
  piece.by_across = Divider(static_cast<std::uint32_t>(ceil_div(p.cols, s.width)));
  piece.relu = p.relu;
  piece.packs = is_aligned(p.y) && p.y_stride % 4 == 0 && p.y_next % 4 == 0 && p.cols % 4 == 0;
  return piece;
}

}  // namespace

bool multiply_small(std::string_view op, Device d, std::span<const Product> products) {
  const Properties& chip = properties(d);
  if (!std::ranges::all_of(products, can)) return false;
  const Plan best = plan(products, chip);
  if (!best.shape) return false;

  Work work{};
  int floats = 0;
  std::int64_t blocks = 0;
  for (std::size_t i = 0; i < products.size(); ++i) {
    const Piece& p = work.pieces[i] = piece_of(products[i], *best.shape, best.ranks[i]);
    floats = std::max(floats, best.shape->floats(p.a.along, p.b.along, p.a.gate, p.share));
    blocks += ceil_div(std::int64_t{p.tiles} * p.ranks, best.cluster) * best.cluster;
    if (i == 0) work.first_blocks = static_cast<unsigned>(blocks);
  }
  std::int64_t shared = floats * std::int64_t{sizeof(float)};
  // Where another kernel's blocks are leaving, two of these could come to one multiprocessor and none to
  // others.
  if (best.cluster == 1 && blocks > chip.sms / 2) shared = std::max(shared, chip.shared_per_sm / 2);
  if (shared > chip.shared_per_block) return false;
  launch(op,
         {.device = d,
          .grid = static_cast<unsigned>(blocks),
          .block = threads,
          .shared = static_cast<std::size_t>(shared),
          .cluster = best.cluster,
          .early = true},
         best.shape->kernel, work);
  return true;
}

}  // namespace bobbin::cuda
