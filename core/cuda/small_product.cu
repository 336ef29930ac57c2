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

std::int64_t parts(std::int64_t n, std::int64_t each) { return (n + each - 1) / each; }

std::int64_t tiles_of(const Product& p, int width) {
  return p.batch * parts(p.rows, height) * parts(p.cols, width);
}

Piece piece_of(const Product& p, int width, int ranks) {
  Piece piece{};
  piece.a = side_of(p.a, p.rows, p.inner, !p.a.transposed);
  piece.b = side_of(p.b, p.cols, p.inner, p.b.transposed);
  piece.y = static_cast<float*>(p.y);
  piece.bias = static_cast<const float*>(p.bias);
  piece.row_sums = static_cast<float*>(p.row_sums);
  piece.y_stride = p.y_stride;
  piece.y_next = p.y_next;
  piece.share = static_cast<int>(parts(p.inner, 4 * ranks) * 4);  // whole packs
  piece.inner = static_cast<int>(p.inner);
  piece.ranks = ranks;
  piece.tiles = static_cast<unsigned>(tiles_of(p, width));
  piece.by_tiles = Divider(static_cast<std::uint32_t>(parts(p.rows, height) * parts(p.cols, width)));
  piece.by_across = Divider(static_cast<std::uint32_t>(parts(p.cols, width)));
  piece.packs = is_aligned(p.y) && p.y_stride % 4 == 0 && p.y_next % 4 == 0 && p.cols % 4 == 0;
  piece.relu = p.relu;
  return piece;
}

// Whether the kernel can compute it, with offsets within a matrix of 32 bits.
bool can(const Product& p) {
  constexpr std::int64_t most = 1 << 24;
  const auto near = [&](const Operand& x) {
    return x.stride * (std::max({p.rows, p.cols, p.inner}) + 2 * segment) < std::int64_t{1} << 31;
  };
  return p.dtype == DType::f32 && !p.tf32 && !(p.row_sums && (p.batch > 1 || !p.a.transposed)) &&
         std::max({p.rows, p.cols, p.inner, p.batch}) <= most && near(p.a) && near(p.b) &&
         tiles_of(p, 32) <= most;
}

// How many blocks of a cluster share the sums of each tile of p, where the others have so many blocks. Four
// cost what some 128 terms do; wide ones fill a multiprocessor, and only pairs of those find room side by
// side (H200).
int ranks_for(const Product& p, int width, std::int64_t others, const Properties& chip) {
  const auto fits = [&](int ranks) { return others + ranks * tiles_of(p, width) <= chip.sms; };
  if (chip.major < 9 || p.inner <= 128) return 1;
  if (width == 64) return fits(2) ? 2 : 1;
  if (!fits(4)) return 1;
  return p.inner >= 1024 && others == 0 && fits(8) ? 8 : 4;  // two pieces have clusters of one size
}

template<int width>
bool multiply(std::string_view op, Device d, std::span<const Product> products, std::int64_t blocks) {
  const Properties& chip = properties(d);
  std::array<int, 2> ranks{1, 1};
  std::int64_t terms = 0;
  for (std::size_t i = 0; i < products.size(); ++i) {
    const Product& p = products[i];
    ranks[i] = ranks_for(p, width, blocks - tiles_of(p, width), chip);
    blocks += (ranks[i] - 1) * tiles_of(p, width);
    terms = std::max(terms, p.inner / ranks[i]);
  }
  // Beyond so many blocks, or terms for a multiprocessor to add, cuBLAS is as fast.
  constexpr std::int64_t most_terms = 1024;
  if (blocks > 2 * chip.sms || parts(blocks, chip.sms) * terms * (width / 32) > most_terms) return false;

  Work work{};
  const int cluster = std::max(ranks[0], ranks[1]);
  int floats = 0;
  blocks = 0;
  for (std::size_t i = 0; i < products.size(); ++i) {
    const Piece& p = work.pieces[i] = piece_of(products[i], width, ranks[i]);
    floats = std::max(floats, floats_of<width>(p.a.along, p.b.along, p.a.gate, p.share));
    blocks += parts(ranks[i] * tiles_of(products[i], width), cluster) * cluster;
    if (i == 0) work.first_blocks = static_cast<unsigned>(blocks);
  }
  std::int64_t shared = floats * std::int64_t{sizeof(float)};
  // Where another kernel's blocks are leaving, two of these could come to one multiprocessor and none to
  // others.
  if (cluster == 1 && blocks > chip.sms / 2) shared = std::max(shared, chip.shared_per_sm / 2);
  if (shared > chip.shared_per_block) return false;
  launch(op,
         {.device = d,
          .grid = static_cast<unsigned>(blocks),
          .block = threads,
          .shared = static_cast<std::size_t>(shared),
          .cluster = cluster,
          .early = true},
         small_products<width>, work);
  return true;
}

}  // namespace

bool multiply_small(std::string_view op, Device d, std::span<const Product> products) {
  std::int64_t narrow = 0, wide = 0;
  for (const Product& p : products) {
    // cuBLAS has kernels of its own for vectors.
    if (!can(p) || std::min(p.rows, p.cols) == 1) return false;
    narrow += tiles_of(p, 32);
    wide += tiles_of(p, 64);
  }
  // One wide block is faster than two narrow ones on a multiprocessor.
  return narrow > properties(d).sms ? multiply<64>(op, d, products, wide)
                                    : multiply<32>(op, d, products, narrow);
}

}  // namespace bobbin::cuda
