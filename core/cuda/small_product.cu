// Chooses how products too small to fill the chip with cuBLAS's tiles are spread over it.
#include <algorithm>

#include "blas.h"
#include "runtime.h"
#include "small_product.cuh"

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

std::int64_t tiles(std::int64_t n) { return (n + tile - 1) / tile; }

std::int64_t tiles_of(const Product& p) { return p.batch * tiles(p.rows) * tiles(p.cols); }

Piece piece_of(const Product& p, int warps, int ranks) {
  Piece piece{};
  piece.a = side_of(p.a, p.rows, p.inner, !p.a.transposed);
  piece.b = side_of(p.b, p.cols, p.inner, p.b.transposed);
  piece.y = static_cast<float*>(p.y);
  piece.bias = static_cast<const float*>(p.bias);
  piece.row_sums = static_cast<float*>(p.row_sums);
  piece.y_stride = p.y_stride;
  piece.y_next = p.y_next;
  piece.inner = static_cast<int>(p.inner);
  piece.ranks = ranks;
  piece.tiles = static_cast<unsigned>(tiles_of(p));
  piece.by_tiles = Divider(static_cast<std::uint32_t>(tiles(p.rows) * tiles(p.cols)));
  piece.by_across = Divider(static_cast<std::uint32_t>(tiles(p.cols)));
  const int warps_together = warps * ranks;
  piece.share = (piece.inner + 8 * warps_together - 1) / (8 * warps_together) * 8;  // whole sectors
  piece.relu = p.relu;
  return piece;
}

// Whether the kernel can compute it, with offsets within a matrix of 32 bits.
bool can(const Product& p) {
  constexpr std::int64_t most = 1 << 24;
  const auto near = [&](const Operand& x) {
    return x.stride * (std::max({p.rows, p.cols, p.inner}) + 2 * tile) < std::int64_t{1} << 31;
  };
  return p.dtype == DType::f32 && !p.tf32 && !(p.row_sums && p.batch > 1) &&
         std::max({p.rows, p.cols, p.inner, p.batch}) <= most && near(p.a) && near(p.b) &&
         tiles_of(p) <= most;
}

// How many blocks of a cluster share the sums of each tile of p, where the others have so many blocks. To
// join two gains nothing; four cost what some 128 terms do (H100).
int ranks_for(const Product& p, std::int64_t others, const Properties& chip) {
  const auto fits = [&](int ranks) { return others + ranks * tiles_of(p) <= chip.sms; };
  if (chip.major < 9 || p.inner <= 128 || !fits(4)) return 1;
  return p.inner >= 1024 && others == 0 && fits(8) ? 8 : 4;  // two pieces have clusters of one size
}

}  // namespace

bool multiply_small(std::string_view op, Device d, std::span<const Product> products) {
  const Properties& chip = properties(d);
  Work work{};
  std::int64_t blocks = 0, terms = 0;
  bool gated = false;
  for (const Product& p : products) {
    // cuBLAS has kernels of its own for vectors.
    if (!can(p) || std::min(p.rows, p.cols) == 1) return false;
    blocks += tiles_of(p);
    gated = gated || p.a.gate;
  }
  std::array<int, 2> ranks{1, 1};
  for (std::size_t i = 0; i < products.size(); ++i) {
    const Product& p = products[i];
    ranks[i] = ranks_for(p, blocks - tiles_of(p), chip);
    blocks += (ranks[i] - 1) * tiles_of(p);
    terms = std::max(terms, p.inner / ranks[i]);
  }
  const int cluster = std::max(ranks[0], ranks[1]);
  const auto whole = [&](std::int64_t n) { return (n + cluster - 1) / cluster * cluster; };
  const std::int64_t first = whole(ranks[0] * tiles_of(products[0]));
  work.first_blocks = static_cast<unsigned>(first);
  blocks = first + whole(blocks - ranks[0] * tiles_of(products[0]));

  // Beyond so many blocks, or terms for a multiprocessor to add, cuBLAS is as fast.
  constexpr std::int64_t most_terms = 1024;
  if (blocks > 2 * chip.sms || (blocks + chip.sms - 1) / chip.sms * terms > most_terms) return false;
  // Long sums that have a multiprocessor to themselves get all threads that it has registers for; else the
  // next kernel's blocks are better let in early.
  const auto shared = [&](int warps) { return warps * warp_floats(gated) * static_cast<int>(sizeof(float)); };
  const bool many = blocks <= chip.sms && terms >= 256 && shared(16) <= chip.shared_per_block;
  const int warps = many ? 16 : 8;
  if (shared(warps) > chip.shared_per_block) return false;
  for (std::size_t i = 0; i < products.size(); ++i) work.pieces[i] = piece_of(products[i], warps, ranks[i]);
  launch(op,
         {.device = d,
          .grid = static_cast<unsigned>(blocks),
          .block = static_cast<unsigned>(32 * warps),
          .shared = static_cast<std::size_t>(shared(warps)),
          .cluster = cluster,
          .early = true},
         many ? small_products<16> : small_products<8>, work);
  return true;
}

}  // namespace bobbin::cuda
