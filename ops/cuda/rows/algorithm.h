// Which way rows go through a GPU: a pure function of their shape, the chip, and how many teams of blocks the
// chip says it can hold at once. Nothing of CUDA in here.
#pragma once
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>

#include "core/ceil_div.h"

namespace bobbin::cuda {

enum class Way { lanes, tile, block, chunks, columns };  ///< the kernels: row_lanes.cuh and so on
enum class Link { block, cluster, grid };                ///< what joins the threads that hold a row

// What the kernels and the plan agree on.
inline constexpr int lanes_threads = 128, tile_threads = 256, chunk_threads = 512,
                     column_threads = 512;  ///< a block
inline constexpr int tile_elements = 16;    ///< of a row that one lane holds, at most
/// Packs that a thread of a block holds, of all inputs: there are three kernels. Shared memory has them all
/// but some of the most.
inline constexpr int block_packs[] = {4, 8, 16};
constexpr int in_registers(int packs) { return packs == 16 ? 4 : 0; }
constexpr int chunk_packs(int inputs) { return 4 / inputs; }
/// Threads of a block of columns that lie side by side: they read 128 bytes, or less by single elements.
constexpr int column_width(bool packs) { return packs ? 8 : 16; }
/// What such a thread holds at once, of each input.
constexpr int column_steps(bool packs, int inputs) { return (packs ? 4 : 8) / inputs; }
/// Packs from row to row in shared memory, where teams of lanes want theirs of rows that lie side by side:
/// eight lanes find them in different banks.
constexpr int shared_pitch(int packs, int lanes) { return packs + ((lanes - packs) & (2 * lanes - 1)); }
constexpr int most_threads(int bytes) { return bytes == 8 ? 512 : 1024; }

inline constexpr int aligned_packs = 8;  ///< of 128 bytes: what one access of a warp should not straddle

/// outer x columns x inner elements, rows along `columns`.
struct RowShape {
  std::int64_t outer, columns, inner;
  int bytes;  ///< of an element
  int inputs, sums;
  bool writes;
  friend bool operator==(const RowShape&, const RowShape&) = default;

  std::int64_t rows() const { return outer * inner; }
  int in_pack() const { return 16 / bytes; }
  std::int64_t packs() const { return std::max<std::int64_t>(1, columns / in_pack()); }  ///< of a row
  bool odd() const { return columns % in_pack() != 0; }
  /// Packs by which a row may begin after a multiple of 128 bytes.
  std::int64_t most_shift() const {
    return aligned_packs - (odd() ? 1 : std::gcd(packs(), std::int64_t{aligned_packs}));
  }
};

struct Chip {
  int sms;
  std::int64_t shared_per_block;
  bool clusters;
};

struct RowPlan {
  Way way = Way::lanes;
  int packs = 0;          ///< of each input, that a thread holds
  int lanes = 32;         ///< of a team within a warp
  bool together = false;  ///< whether a warp moves the packs of all its teams' rows side by side
  int threads = 0;        ///< of a block
  int blocks = 1;         ///< of a team
  Link link = Link::block;
  std::int64_t share = 0;  ///< packs of a row that each block of a team takes
  std::int64_t teams = 0;  ///< of blocks, in the grid
  std::int64_t grid = 0;
  int slabs = 0;           ///< of a tile
  bool stash = false;      ///< columns that do not fit in registers wait in shared memory
  std::size_t shared = 0;  ///< bytes, less what the exchange between warps and blocks needs
};

/// What the choice goes by: measured on an H100; other chips need only the same proportions. The last four
/// force a choice where it is possible at all: for tests and benchmarks.
struct RowTuning {
  std::int64_t cluster_packs =
      1024;  ///< of all inputs, that a block of a cluster takes; twice that with several sums
  std::int64_t grid_packs = 2048;   ///< the same, where the blocks that share a row are not a cluster
  std::int64_t deep_lanes = 32;     ///< packs of a row with several sums, from which lanes hold eight
  std::int64_t tile_row = 1024;     ///< bytes of the longest odd row that goes through tiles
  std::int64_t tile_bytes = 16384;  ///< of each input
  std::optional<Way> way;
  std::optional<Link> link;
  int blocks = 0, packs = 0;  ///< of all inputs
  friend bool operator==(const RowTuning&, const RowTuning&) = default;
};
inline RowTuning& row_tuning() {
  static RowTuning t;
  return t;
}

/// How many teams of a plan the chip holds at once; 0 where it cannot run.
using ResidentTeams = std::function<std::int64_t(const RowPlan&)>;

namespace detail {

constexpr int power_of_two(std::int64_t least) {
  return static_cast<int>(std::bit_ceil(static_cast<std::uint64_t>(std::max<std::int64_t>(least, 1))));
}

// Time to the first byte counts, not how many are under way.
inline bool few_rows(const RowShape& s, const Chip& chip) { return s.rows() <= 8 * chip.sms; }

inline RowPlan plan_lanes(const RowShape& s, const Chip& chip, const RowTuning& t) {
  RowPlan p{.way = Way::lanes};
  const std::int64_t packs = s.packs();
  // Few lanes need few steps to agree, and do less often what each does for a row; odd rows want lanes for
  // their edges. Where agreeing takes long, lanes hold more of a row each.
  const bool deep = packs > (s.sums > 1 ? t.deep_lanes : 128), many = !few_rows(s, chip);
  // Of two inputs, even one pack of each a lane keeps enough under way.
  const bool thin = s.inputs > 1 && !s.odd() && packs <= 4;
  p.packs = thin ? 1 : deep && s.bytes < 8 ? 8 : many && !s.odd() && packs <= 2 ? 2 : 4;
  p.lanes = std::max(power_of_two(ceil_div(packs, p.packs)), s.odd() ? 16 : 1);
  p.together = many && !thin && p.lanes < aligned_packs;
  const std::int64_t warps = ceil_div(s.rows(), std::int64_t{32} / p.lanes);
  p.threads = static_cast<int>(32 * std::clamp<std::int64_t>(warps / chip.sms, 1, lanes_threads / 32));
  p.grid = ceil_div(warps, p.threads / 32);
  const int held = p.together ? shared_pitch(static_cast<int>(packs), p.lanes) / p.lanes : p.packs;
  if (many && !thin) p.shared = static_cast<std::size_t>(held * s.inputs * lanes_threads * 16);
  return p;
}

inline std::int64_t tile_step(const RowShape& s) {  // slabs that make a multiple of 16 bytes
  return s.in_pack() / std::gcd(std::int64_t{s.in_pack()}, s.columns * s.inner);
}

inline RowPlan plan_tile(const RowShape& s, const Chip& chip, const RowTuning& t) {
  RowPlan p{.way = Way::tile, .threads = tile_threads};
  const std::int64_t slab = s.columns * s.inner * s.bytes, step = tile_step(s);
  const std::int64_t fit = std::max<std::int64_t>(1, t.tile_bytes / (step * slab));
  p.slabs = static_cast<int>(step * std::min(fit, ceil_div(s.outer, step * 2 * chip.sms)));
  p.lanes = std::min(32, power_of_two(ceil_div(s.columns, 8)));
  p.grid = ceil_div(s.outer, p.slabs);
  p.shared = static_cast<std::size_t>(p.slabs * slab * s.inputs);
  return p;
}

inline RowPlan plan_columns(const RowShape& s, const Chip& chip) {
  RowPlan p{.way = Way::columns};
  const bool packs = s.inner % s.in_pack() == 0;
  const std::int64_t width = column_width(packs), steps = column_steps(packs, s.inputs),
                     groups = s.rows() / (packs ? s.in_pack() : 1);
  p.packs = packs;
  p.threads = static_cast<int>(
      std::clamp<std::int64_t>(width * power_of_two(ceil_div(s.columns, steps)), 64, column_threads));
  p.grid = ceil_div(groups, width);
  const std::int64_t chunks = ceil_div(s.columns, steps * p.threads / width);
  const std::int64_t all = chunks * steps * s.inputs * p.threads * (packs ? 16 : s.bytes);
  p.stash = chunks > 1 && all <= chip.shared_per_block - 32 * 1024;
  p.shared = p.stash ? static_cast<std::size_t>(all) : 0;
  return p;
}

// A row in chunks: all the blocks there are share the rows.
inline RowPlan plan_chunks(const RowShape& s, const ResidentTeams& resident) {
  RowPlan p{.way = Way::chunks, .packs = chunk_packs(s.inputs), .threads = chunk_threads, .share = s.packs()};
  const std::int64_t blocks = std::max<std::int64_t>(1, resident(p));
  p.blocks = static_cast<int>(std::max<std::int64_t>(1, blocks / s.rows()));
  p.link = p.blocks > 1 ? Link::grid : Link::block;
  p.share = ceil_div(s.packs(), p.blocks);
  p.teams = std::min(s.rows(), blocks / p.blocks);
  p.grid = p.teams * p.blocks;
  return p;
}

// Threads up to which a block does well with `all` packs each. What a row costs a thread beside its elements
// is more where there are several sums.
inline int comfortable(int all, int sums) {
  if (sums > 1) return all == 4 ? 0 : all == 8 ? 128 : 512;
  return all == 4 ? 128 : 512;
}

// A row shared by `blocks` blocks; nothing where they cannot hold it.
inline std::optional<RowPlan> plan_team(const RowShape& s, const RowTuning& t, const ResidentTeams& resident,
                                        Link link, int blocks) {
  for (const bool roomy : {true, false})
    for (const int all : block_packs) {
      RowPlan p{.way = Way::block, .packs = all / s.inputs, .blocks = blocks, .link = link};
      p.share = ceil_div(ceil_div(s.packs() + s.most_shift(), blocks), aligned_packs) * aligned_packs;
      const std::int64_t threads = ceil_div(ceil_div(p.share, p.packs), 32) * 32;
      if (t.packs ? all != t.packs : roomy && threads > comfortable(all, s.sums)) continue;
      if (threads > most_threads(s.bytes)) continue;
      p.threads = static_cast<int>(threads);
      p.shared = static_cast<std::size_t>(threads * (all - in_registers(all)) * 16);
      const std::int64_t held = resident(p);
      if (held == 0) continue;
      // The chip hands out blocks as there is room. Those that meet in global memory must all be there: they
      // stay.
      p.teams = link == Link::grid ? std::min(held, s.rows()) : s.rows();
      p.grid = p.teams * blocks;
      return p;
    }
  return {};
}

inline RowPlan plan_block(const RowShape& s, const Chip& chip, const RowTuning& t,
                          const ResidentTeams& resident) {
  const std::int64_t loaded = s.packs() * s.inputs;
  const int most = chip.clusters && t.link != Link::block ? 16 : 1;
  const std::int64_t each = t.cluster_packs * (s.sums > 1 ? 2 : 1);
  const int cluster =
      t.blocks ? t.blocks : static_cast<int>(std::min<std::int64_t>(most, ceil_div(loaded, each)));
  const int grid = t.blocks ? t.blocks : power_of_two(ceil_div(loaded, t.grid_packs));
  const bool few = !t.link && grid > most && s.rows() * grid <= chip.sms;
  std::optional<RowPlan> p;
  if (!few && t.link != Link::grid)
    for (int blocks = cluster; !p && blocks > 0; blocks /= 2)
      p = plan_team(s, t, resident, blocks > 1 ? Link::cluster : Link::block, blocks);
  for (int blocks = std::max(2, grid); !p && blocks <= chip.sms; blocks *= 2)
    p = plan_team(s, t, resident, Link::grid, blocks);
  return p ? *p : plan_chunks(s, resident);
}

}  // namespace detail

/// For at least one element.
inline RowPlan plan_rows(const RowShape& s, const Chip& chip, const RowTuning& t,
                         const ResidentTeams& resident) {
  using namespace detail;
  const bool flat =
      s.columns <= 32 * tile_elements && tile_step(s) * s.columns * s.inner * s.bytes <= t.tile_bytes;
  const auto can = [&](Way way) { return t.way && *t.way == way; };
  if (s.inner > 1) return flat && !can(Way::columns) ? plan_tile(s, chip, t) : plan_columns(s, chip);
  if (can(Way::chunks)) return plan_chunks(s, resident);
  if (can(Way::block)) return plan_block(s, chip, t, resident);
  if (s.odd() && flat && s.columns * s.bytes <= t.tile_row) return plan_tile(s, chip, t);
  // A warp that holds eight packs a lane does better as a block where it has several sums to agree on, and
  // where there are rows enough to gain from aligned accesses or from more of them under way.
  const bool many = !few_rows(s, chip);
  const std::int64_t can_hold = s.bytes == 8 ? 128 : 256;
  const std::int64_t should = s.sums > 1 ? 128 : many && s.most_shift() > 0 ? 128 / s.inputs : can_hold;
  if (s.packs() <= (can(Way::lanes) ? can_hold : should)) return plan_lanes(s, chip, t);
  return plan_block(s, chip, t, resident);
}

}  // namespace bobbin::cuda
