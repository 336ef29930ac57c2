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

Piece piece_of(const Product& p, int warps_together) {
  Piece piece{};
  piece.a = side_of(p.a, p.rows, p.inner, !p.a.transposed);
  piece.b = side_of(p.b, p.cols, p.inner, p.b.transposed);
  piece.y = static_cast<float*>(p.y);
  piece.bias = static_cast<const float*>(p.bias);
  piece.row_sums = static_cast<float*>(p.row_sums);
  piece.y_stride = p.y_stride;
  piece.y_next = p.y_next;
  piece.inner = static_cast<int>(p.inner);
  piece.by_tiles = Divider(static_cast<std::uint32_t>(tiles(p.rows) * tiles(p.cols)));
  piece.by_across = Divider(static_cast<std::uint32_t>(tiles(p.cols)));
  piece.share = (piece.inner + 8 * warps_together - 1) / (8 * warps_together) * 8;  // whole sectors
  piece.relu = p.relu;
  return piece;
}

std::int64_t tiles_of(const Product& p) { return p.batch * tiles(p.rows) * tiles(p.cols); }

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

// How many blocks of a cluster share the sums of each of `count` tiles. To join two gains nothing; four cost
// what some 128 terms do (H100).
int ranks_for(std::int64_t count, std::int64_t inner, const Properties& chip) {
  if (chip.major < 9 || 4 * count > chip.sms || inner <= 128) return 1;
  return 8 * count <= chip.sms && inner >= 1024 ? 8 : 4;
}

}  // namespace

bool multiply_small(std::string_view op, Device d, std::span<const Product> products) {
  const Properties& chip = properties(d);
  Work work{};
  std::int64_t count = 0, inner = 0;
  bool gated = false;
  for (const Product& p : products) {
    // cuBLAS has kernels of its own for vectors.
    if (!can(p) || std::min(p.rows, p.cols) == 1) return false;
    count += tiles_of(p);
    inner = std::max(inner, p.inner);
    gated = gated || p.a.gate;
  }
  work.ranks = ranks_for(count, inner, chip);
  work.first_tiles = static_cast<unsigned>(tiles_of(products[0]));
  for (std::size_t i = 0; i < products.size(); ++i)
    work.pieces[i] = piece_of(products[i], warps * work.ranks);

  // Beyond so many blocks, or terms for a multiprocessor to add, cuBLAS is as fast.
  const std::int64_t blocks = count * work.ranks, most_terms = 1024;
  if (blocks > 2 * chip.sms || (blocks + chip.sms - 1) / chip.sms * (inner / work.ranks) > most_terms)
    return false;
  const std::size_t shared = warps * warp_floats(gated) * sizeof(float);
  if (static_cast<std::int64_t>(shared) > chip.shared_per_block) return false;
  launch(op,
         {.device = d,
          .grid = static_cast<unsigned>(blocks),
          .block = threads,
          .shared = shared,
          .cluster = work.ranks,
          .early = true},
         small_products, work);
  return true;
}

}  // namespace bobbin::cuda
