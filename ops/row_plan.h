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

namespace bobbin::cuda {

enum class Way { lanes, tile, block, chunks, columns };  ///< the kernels: row_lanes.cuh and so on
enum class Link { block, cluster, grid };                ///< what joins the threads that hold a row

// What the kernels and the plan agree on.
inline constexpr int lanes_threads = 128, tile_threads = 256, chunk_threads = 512,
                     column_threads = 512;  ///< a block
inline constexpr int tile_elements = 16;    ///< of a row that one lane holds, at most
/// Packs that a thread of a block holds of each input: there are two kernels, and one for chunks.
constexpr int deep_packs(int bytes, int inputs) { return (bytes == 8 ? 4 : 8) / inputs; }
constexpr int shallow_packs(int bytes, int inputs) { return (bytes == 8 ? 4 : 2) / inputs; }
constexpr int chunk_packs(int inputs) { return 4 / inputs; }
/// Threads of a block of columns that lie side by side: they read 128 bytes, or less by single elements.
constexpr int column_width(bool packs) { return packs ? 8 : 16; }
/// What such a thread holds at once, of each input.
constexpr int column_steps(bool packs, int inputs) { return (packs ? 4 : 8) / inputs; }
constexpr int most_threads(int bytes) { return bytes == 8 ? 512 : 1024; }

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
};

struct Chip {
  int sms;
  std::int64_t shared_per_block;
  bool clusters;
};

struct RowPlan {
  Way way = Way::lanes;
  int packs = 0;    ///< of each input, that a thread holds
  int at_once = 1;  ///< rows that a team of lanes takes at a time
  int lanes = 32;   ///< of a team within a warp
  int threads = 0;  ///< of a block
  int blocks = 1;   ///< of a team
  Link link = Link::block;
  std::int64_t share = 0;  ///< packs of a row that each block of a team takes
  std::int64_t teams = 0;  ///< of blocks, in the grid
  std::int64_t grid = 0;
  int slabs = 0;           ///< of a tile
  bool stash = false;      ///< columns that do not fit in registers wait in shared memory
  std::size_t shared = 0;  ///< bytes, less what the exchange between warps and blocks needs
};

/// What the choice goes by: measured on an H100; other chips need only the same proportions. Times are in
/// microseconds. The last four force a choice where it is possible at all: for tests and benchmarks.
struct RowTuning {
  double memory = 3.0e6;            ///< bytes a microsecond, of the chip
  double multiprocessor = 60e3;     ///< the same, of one multiprocessor
  double work = 2.5e-5;             ///< for a byte held, in one multiprocessor
  double depth = 0.03;              ///< for a pack held, in one thread
  double cluster = 0.6;             ///< exchange in a cluster, and
  double cluster_block = 0.05;      ///< for each of its blocks
  double grid = 1.8;                ///< exchange through global memory
  double exposed = 0.4;             ///< of an exchange, where loads for the next row are under way
  std::int64_t deep_lanes = 32;     ///< packs of a row with several sums, from which lanes hold eight
  std::int64_t tile_row = 1024;     ///< bytes of the longest odd row that goes through tiles
  std::int64_t tile_bytes = 16384;  ///< of each input
  /// Whether blocks stay for several rows, and load one ahead; if not said, those that share a row do. A
  /// block alone is better replaced by a fresh one: the chip then hands out rows as they are wanted.
  std::optional<bool> persistent;
  std::optional<Way> way;
  std::optional<Link> link;
  int blocks = 0, packs = 0;
  friend bool operator==(const RowTuning&, const RowTuning&) = default;
};
inline RowTuning& row_tuning() {
  static RowTuning t;
  return t;
}

/// How many teams of a plan the chip holds at once; 0 where it cannot run.
using ResidentTeams = std::function<std::int64_t(const RowPlan&)>;

namespace detail {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr int power_of_two(std::int64_t least) {
  return static_cast<int>(std::bit_ceil(static_cast<std::uint64_t>(std::max<std::int64_t>(least, 1))));
}

inline RowPlan plan_lanes(const RowShape& s, const Chip& chip, const RowTuning& t) {
  RowPlan p{.way = Way::lanes};
  const std::int64_t packs = s.packs();
  // Eight lanes read 128 bytes at a time, and need few steps to agree; odd rows want lanes for their edges.
  // Where agreeing takes long, lanes hold more of a row each.
  const bool deep = packs > (s.sums > 1 ? t.deep_lanes : 128);
  p.packs = s.bytes == 8 ? 4 : deep ? 8 : packs > 16 || s.odd() ? 4 : packs > 8 ? 2 : 1;
  p.at_once = p.packs == 1 ? 4 : p.packs == 2 ? 2 : 1;
  p.lanes = std::max(power_of_two(ceil_div(packs, p.packs)), s.odd() ? 16 : 1);
  const std::int64_t warps = ceil_div(s.rows(), std::int64_t{32} / p.lanes * p.at_once);
  p.threads = static_cast<int>(32 * std::clamp<std::int64_t>(warps / chip.sms, 1, lanes_threads / 32));
  p.grid = ceil_div(warps, p.threads / 32);
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

// The time a plan would take.
inline double estimate(const RowPlan& p, const RowShape& s, const Chip& chip, const RowTuning& t) {
  const double moved = s.inputs + s.writes;
  const double row = static_cast<double>(s.columns * s.bytes), share = static_cast<double>(p.share) * 16;
  const auto per_sm = [&](std::int64_t teams) {
    return static_cast<double>(ceil_div(teams * p.blocks, chip.sms));
  };
  const auto wave = [&](std::int64_t teams) {
    return std::max(static_cast<double>(teams) * row * moved / t.memory,
                    per_sm(teams) * share * moved / t.multiprocessor);
  };
  const std::int64_t full = s.rows() / p.teams, rest = s.rows() % p.teams;
  const double exchange = p.link == Link::cluster ? t.cluster + t.cluster_block * p.blocks
                          : p.link == Link::grid  ? t.grid
                                                  : 0;
  const double reduced = share * s.inputs * t.work * (full > 1 ? 1 : per_sm(p.teams));  // the last rows
  return static_cast<double>(full) * wave(p.teams) + (rest ? wave(rest) : 0) + reduced +
         p.packs * s.inputs * t.depth + exchange +
         exchange * t.exposed * (static_cast<double>(s.rows()) / static_cast<double>(p.teams) - 1);
}

inline RowPlan plan_block(const RowShape& s, const Chip& chip, const RowTuning& t,
                          const ResidentTeams& resident) {
  // Packs a thread holds; few where the chip would not be filled otherwise.
  const int deep = deep_packs(s.bytes, s.inputs), shallow = shallow_packs(s.bytes, s.inputs);
  std::optional<RowPlan> best;
  double best_time = 0;
  const auto consider = [&](Link link, int blocks, int packs) {
    if ((t.blocks && blocks != t.blocks) || (t.link && link != *t.link) || (t.packs && packs != t.packs))
      return;
    RowPlan p{.way = Way::block, .packs = packs, .blocks = blocks, .link = link};
    p.share = ceil_div(s.packs(), blocks);
    const std::int64_t threads = ceil_div(ceil_div(p.share, packs), 32) * 32;
    if (threads > most_threads(s.bytes) || (blocks > 1 && p.share < 64 && !t.blocks)) return;
    p.threads = static_cast<int>(threads);
    p.shared = static_cast<std::size_t>(threads * packs * s.inputs * 16);
    const std::int64_t held = resident(p);
    if (held == 0 || (packs != deep && held < s.rows() && !t.packs)) return;
    p.teams = std::min(held, s.rows());
    const double time = estimate(p, s, chip, t);
    if (best && time >= best_time) return;
    best = p;
    best_time = time;
  };
  for (const int packs : {deep, shallow}) {
    consider(Link::block, 1, packs);
    for (int blocks = 2; chip.clusters && blocks <= 16; blocks *= 2) consider(Link::cluster, blocks, packs);
  }
  // Through global memory: few rows, or rows too long for what else there is.
  for (const int packs : {deep, shallow})
    for (int blocks = 2; blocks <= chip.sms; blocks *= 2)
      if (!best || best->link == Link::grid || s.rows() * blocks <= chip.sms)
        consider(Link::grid, blocks, packs);
  if (!best) return plan_chunks(s, resident);
  const bool stay = best->link == Link::grid || t.persistent.value_or(best->link != Link::block);
  best->grid = best->blocks * (stay ? best->teams : s.rows());
  best->teams = best->grid / best->blocks;
  return *best;
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
  const bool few = s.rows() <= 2 * chip.sms && s.packs() >= 64;
  // A warp that holds eight packs a lane does better as a block where it has several sums to agree on.
  const int held = s.bytes == 8 || s.sums > 1 ? 4 : 8;
  if (s.packs() <= 32 * held && (!few || can(Way::lanes))) return plan_lanes(s, chip, t);
  return plan_block(s, chip, t, resident);
}

}  // namespace bobbin::cuda
