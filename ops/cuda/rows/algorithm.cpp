// Chooses an algorithm and its launch parameters for rows of a shape.
#include "ops/cuda/rows/algorithm.h"

#include <bit>

#include "core/ceil_div.h"

namespace bobbin::cuda {
namespace {

constexpr int power_of_two(std::int64_t least) {
  return static_cast<int>(std::bit_ceil(static_cast<std::uint64_t>(std::max<std::int64_t>(least, 1))));
}

// Whether there are so few rows that latency decides the time, and not the number of loads in flight.
bool few_rows(const RowShape& s, const Chip& chip) { return s.rows() <= 8 * chip.sms; }

RowLaunch warp_launch(const RowShape& s, const Chip& chip, const RowTuning& t) {
  RowLaunch p{.algorithm = Algorithm::warp};
  const std::int64_t packs = s.packs();
  // Fewer lanes need fewer shuffles, and repeat less of the work that each lane does once per row. Rows with
  // edges need one lane per edge element, and eight, so that they are not `coalesced`. If the reduction is
  // expensive, a lane holds more of the row.
  const bool long_row = packs > (s.sums > 1 ? t.long_row_packs : 128), many = !few_rows(s, chip);
  // With two inputs, one pack of each per lane keeps enough loads in flight.
  const bool one_pack = s.inputs > 1 && !s.has_edges() && packs <= 4;
  p.packs = one_pack ? 1 : long_row && s.bytes < 8 ? 8 : many && !s.has_edges() && packs <= 2 ? 2 : 4;
  p.lanes = std::max(power_of_two(ceil_div(packs, p.packs)),
                     s.has_edges() ? std::max(8, 2 * s.pack_elements()) : 1);
  p.coalesced = many && !one_pack && p.lanes < aligned_packs;
  const std::int64_t warps = ceil_div(s.rows(), std::int64_t{32} / p.lanes);
  p.threads = static_cast<int>(32 * std::clamp<std::int64_t>(warps / chip.sms, 1, warp_block_threads / 32));
  p.grid = ceil_div(warps, p.threads / 32);
  const int packs_per_lane = p.coalesced ? shared_pitch(static_cast<int>(packs), p.lanes) / p.lanes : p.packs;
  if (many && !one_pack)
    p.shared = static_cast<std::size_t>(packs_per_lane * s.inputs * warp_block_threads * 16);
  return p;
}

// The fewest slabs whose size is a multiple of 16 bytes.
std::int64_t tile_step(const RowShape& s) {
  return s.pack_elements() / std::gcd(std::int64_t{s.pack_elements()}, s.columns * s.inner);
}

RowLaunch tile_launch(const RowShape& s, const Chip& chip, const RowTuning& t) {
  RowLaunch p{.algorithm = Algorithm::tile, .threads = tile_threads};
  const std::int64_t slab = s.columns * s.inner * s.bytes, step = tile_step(s);
  const std::int64_t fit = std::max<std::int64_t>(1, t.tile_bytes / (step * slab));
  p.slabs = static_cast<int>(step * std::min(fit, ceil_div(s.outer, step * 2 * chip.sms)));
  p.lanes = std::min(32, power_of_two(ceil_div(s.columns, 8)));
  p.grid = ceil_div(s.outer, p.slabs);
  p.shared = static_cast<std::size_t>(p.slabs * slab * s.inputs);
  return p;
}

RowLaunch strided_launch(const RowShape& s, const Chip& chip) {
  RowLaunch p{.algorithm = Algorithm::strided};
  const bool packs = s.inner % s.pack_elements() == 0;
  const std::int64_t width = strided_width(packs), steps = strided_steps(packs, s.inputs),
                     groups = s.rows() / (packs ? s.pack_elements() : 1);
  p.packs = packs;
  p.threads = static_cast<int>(
      std::clamp<std::int64_t>(width * power_of_two(ceil_div(s.columns, steps)), 64, strided_threads));
  p.grid = ceil_div(groups, width);
  const std::int64_t chunks = ceil_div(s.columns, steps * p.threads / width);
  const std::int64_t bytes = chunks * steps * s.inputs * p.threads * (packs ? 16 : s.bytes);
  p.cached = chunks > 1 && bytes <= chip.shared_per_block - 32 * 1024;
  p.shared = p.cached ? static_cast<std::size_t>(bytes) : 0;
  p.part_columns = s.columns;
  if (!p.cached && p.grid <= chip.sms) {
    const std::int64_t part_chunks = std::max<std::int64_t>(4, ceil_div(chunks * p.grid, 8 * chip.sms));
    p.part_columns = part_chunks * steps * p.threads / width;
    p.parts = static_cast<int>(ceil_div(s.columns, p.part_columns));
  }
  return p;
}

// All blocks that the chip runs at the same time share the rows.
RowLaunch two_pass_launch(const RowShape& s, const ResidentTeams& resident) {
  RowLaunch p{.algorithm = Algorithm::two_pass,
              .packs = two_pass_packs(s.inputs),
              .threads = two_pass_threads,
              .packs_per_block = s.packs()};
  const std::int64_t blocks = std::max<std::int64_t>(1, resident(p));
  p.blocks = static_cast<int>(std::max<std::int64_t>(1, blocks / s.rows()));
  p.scope = p.blocks > 1 ? Scope::grid : Scope::block;
  p.packs_per_block = ceil_div(s.packs(), p.blocks);
  p.teams = std::min(s.rows(), blocks / p.blocks);
  p.grid = p.teams * p.blocks;
  return p;
}

// The most threads for which a block is fast with `all` packs (of all inputs) per thread. With several sums,
// each thread has a higher fixed cost per row, so a thread holds more packs.
int fast_threads(int all, const RowShape& s) { return s.sums > 1 && all == 8 ? s.has_max ? 0 : 128 : 512; }

// A launch with `blocks` blocks per row; nullopt if they cannot hold it. The fast sizes are tried first.
std::optional<RowLaunch> team_launch(const RowShape& s, const RowTuning& t, const ResidentTeams& resident,
                                     Scope scope, int blocks) {
  for (const bool fast : {true, false})
    for (const int all : block_packs) {
      RowLaunch p{.algorithm = Algorithm::block, .packs = all / s.inputs, .blocks = blocks, .scope = scope};
      p.packs_per_block =
          ceil_div(ceil_div(s.packs() + s.max_shift(), blocks), aligned_packs) * aligned_packs;
      const std::int64_t threads = ceil_div(ceil_div(p.packs_per_block, p.packs), 32) * 32;
      if (t.packs ? all != t.packs : fast && threads > fast_threads(all, s)) continue;
      if (threads > max_block_threads(s.bytes)) continue;
      p.threads = static_cast<int>(threads);
      p.shared = static_cast<std::size_t>(threads * (all - packs_in_registers(all)) * 16);
      const std::int64_t resident_teams = resident(p);
      if (resident_teams == 0) continue;
      // Blocks that exchange through global memory must all run at the same time, so each loops over rows.
      // Other blocks take one row each, and start as soon as there is room.
      p.teams = scope == Scope::grid ? std::min(resident_teams, s.rows()) : s.rows();
      p.grid = p.teams * blocks;
      return p;
    }
  return {};
}

RowLaunch block_launch(const RowShape& s, const Chip& chip, const RowTuning& t,
                       const ResidentTeams& resident) {
  const std::int64_t loaded = s.packs() * s.inputs;
  const int max_cluster = chip.clusters && t.scope != Scope::block ? 16 : 1;
  const std::int64_t packs_per_block = t.cluster_packs * (s.sums > 1 ? 2 : 1);
  const int cluster =
      t.blocks ? t.blocks
               : static_cast<int>(std::min<std::int64_t>(max_cluster, ceil_div(loaded, packs_per_block)));
  const int grid = t.blocks ? t.blocks : power_of_two(ceil_div(loaded, t.grid_packs));
  const bool grid_first = !t.scope && grid > max_cluster && s.rows() * grid <= chip.sms;
  std::optional<RowLaunch> p;
  if (!grid_first && t.scope != Scope::grid)
    for (int blocks = cluster; !p && blocks > 0; blocks /= 2)
      p = team_launch(s, t, resident, blocks > 1 ? Scope::cluster : Scope::block, blocks);
  for (int blocks = std::max(2, grid); !p && blocks <= chip.sms; blocks *= 2)
    p = team_launch(s, t, resident, Scope::grid, blocks);
  return p ? *p : two_pass_launch(s, resident);
}

}  // namespace

RowLaunch choose_launch(const RowShape& s, const Chip& chip, const RowTuning& t,
                        const ResidentTeams& resident) {
  const bool fits_tile =
      s.columns <= 32 * tile_elements && tile_step(s) * s.columns * s.inner * s.bytes <= t.tile_bytes;
  const auto forced = [&](Algorithm algorithm) { return t.algorithm && *t.algorithm == algorithm; };
  if (s.inner > 1)
    return fits_tile && !forced(Algorithm::strided) ? tile_launch(s, chip, t) : strided_launch(s, chip);
  if (forced(Algorithm::two_pass)) return two_pass_launch(s, resident);
  if (forced(Algorithm::block)) return block_launch(s, chip, t, resident);
  if (s.has_edges() && fits_tile && s.columns * s.bytes <= t.tile_row) return tile_launch(s, chip, t);
  // A warp can hold eight packs per lane. A block is faster above 128 packs for many rows of two inputs, and
  // for rows with several sums and no maximum.
  const std::int64_t can_hold = s.bytes == 8 ? 128 : 256;
  const bool block_is_faster = s.inputs > 1 ? !few_rows(s, chip) : s.sums > 1 && !s.has_max;
  const std::int64_t should_hold = block_is_faster ? 128 : can_hold;
  if (s.packs() <= (forced(Algorithm::warp) ? can_hold : should_hold)) return warp_launch(s, chip, t);
  return block_launch(s, chip, t, resident);
}

}  // namespace bobbin::cuda
