// The algorithms that process the rows of a tensor on a GPU (run.cuh describes them), and the choice between
// them: a pure function of the shape, the chip, and the number of blocks that the chip runs at the same time.
// Nothing here needs CUDA.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>

namespace bobbin::cuda {

enum class Algorithm { warp, tile, block, two_pass, strided };
enum class Scope { block, cluster, grid };  ///< the threads that hold one row and exchange its statistics

// Constants that the kernels and the choice of an algorithm share.
inline constexpr int warp_block_threads = 128, tile_threads = 256, two_pass_threads = 512,
                     strided_threads = 512;    ///< threads of a block, at most
inline constexpr int tile_elements = 16;       ///< elements of a row that one lane of a tile holds, at most
inline constexpr int block_packs[] = {8, 16};  ///< packs of all inputs that a thread of a block holds
/// How many of a thread's packs are in registers; the others are in shared memory.
constexpr int packs_in_registers(int packs) { return packs == 16 ? 4 : 0; }
constexpr int two_pass_packs(int inputs) { return 4 / inputs; }
/// The threads of a strided block that are neighbours along the inner dimension: 8 that read a pack each, or
/// 16 that read an element each.
constexpr int strided_width(bool packs) { return packs ? 8 : 16; }
/// Packs (or elements) of each input that a thread of a strided block holds at once.
constexpr int strided_steps(bool packs, int inputs) { return (packs ? 4 : 8) / inputs; }
/// The distance between rows in shared memory, in packs, where `lanes` lanes read each of several rows: eight
/// neighbouring lanes access different banks.
constexpr int shared_pitch(int packs, int lanes) { return packs + ((lanes - packs) & (2 * lanes - 1)); }
constexpr int max_block_threads(int element_bytes) { return element_bytes == 8 ? 512 : 1024; }

/// Entries of shared memory that the exchange of a row's statistics uses: two for barriers, and two buffers
/// with one entry for each warp and one for each block of a cluster, or one for the total.
constexpr int exchange_entries(int warps, int blocks, Scope scope) {
  return 2 + 2 * (warps + (scope == Scope::cluster ? blocks : 1));
}

inline constexpr int aligned_packs =
    8;  ///< packs in 128 bytes: the accesses of a warp begin at multiples of that

/// outer x columns x inner elements; a row is the `columns` elements with one outer and one inner index.
struct RowShape {
  std::int64_t outer, columns, inner;
  int bytes;  ///< of an element
  int inputs, sums;
  bool has_max;
  friend bool operator==(const RowShape&, const RowShape&) = default;

  std::int64_t rows() const { return outer * inner; }
  int pack_elements() const { return 16 / bytes; }
  std::int64_t packs() const { return std::max<std::int64_t>(1, columns / pack_elements()); }  ///< of a row
  /// Whether rows have elements beside their packs, because their length is no multiple of a pack.
  bool has_edges() const { return columns % pack_elements() != 0; }
  /// The most packs that lie between a multiple of 128 bytes and the start of a row.
  std::int64_t max_shift() const {
    return aligned_packs - (has_edges() ? 1 : std::gcd(packs(), std::int64_t{aligned_packs}));
  }
};

struct Chip {
  int sms;
  std::int64_t shared_per_block;
  bool clusters;
};

/// An algorithm and its launch parameters. A team is the blocks that share one row.
struct RowLaunch {
  Algorithm algorithm = Algorithm::warp;
  int packs = 0;                     ///< of each input that a thread holds
                                     ///< (for `strided`: 1 if a thread holds packs, 0 if single elements)
  int lanes = 32;                    ///< of a warp that share one row
  bool coalesced = false;            ///< whether a warp copies the packs of all its rows as one range
  int threads = 0;                   ///< of a block
  int blocks = 1;                    ///< of a team
  Scope scope = Scope::block;        ///< of a team
  std::int64_t packs_per_block = 0;  ///< of a row that each block of a team holds
  std::int64_t teams = 0;
  std::int64_t grid = 0;  ///< blocks
  int slabs = 0;          ///< of a tile
  int parts = 1;          ///< strided: blocks that share the columns of the same rows
  std::int64_t part_columns = 0;
  bool cached = false;     ///< strided: shared memory keeps what is read for the second pass
  std::size_t shared = 0;  ///< bytes of shared memory, without those of the exchange
};

/// The thresholds of the choice, measured on an H100. The last four force a choice where it is possible, for
/// tests and benchmarks.
struct RowTuning {
  std::int64_t cluster_packs =
      1024;  ///< packs of all inputs for each block of a cluster; twice that with several sums
  std::int64_t grid_packs = 2048;    ///< packs of all inputs for each block of a team that is not a cluster
  std::int64_t long_row_packs = 32;  ///< above this many packs, a lane holds eight (rows with several sums)
  std::int64_t tile_row = 130;       ///< bytes of the longest row with edge elements that `tile` processes
  std::int64_t tile_bytes = 16384;   ///< of a tile, for each input
  std::optional<Algorithm> algorithm;
  std::optional<Scope> scope;
  int blocks = 0, packs = 0;  ///< packs of all inputs
  friend bool operator==(const RowTuning&, const RowTuning&) = default;
};
inline RowTuning& row_tuning() {
  static RowTuning t;
  return t;
}

/// How many teams of a launch the chip runs at the same time; 0 if it cannot run one.
using ResidentTeams = std::function<std::int64_t(const RowLaunch&)>;

/// The fastest launch for rows of this shape, which has at least one element.
RowLaunch choose_launch(const RowShape&, const Chip&, const RowTuning&, const ResidentTeams&);

}  // namespace bobbin::cuda
