#include "ops/reduce/engine.h"

#include <bobbin/parallel.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "core/ceil_div.h"

namespace bobbin {
namespace {

constexpr std::int64_t lanes = Accumulator::lanes;
constexpr std::int64_t max_width = 256;  // neighbouring results; their lanes stay in the L1 cache
constexpr std::int64_t tile_elements = 16 * block_size;  // enough work to wake a thread for
constexpr std::int64_t short_row = 32;
constexpr std::int64_t enough_tiles = 32;  // fewer, and long reductions are cut for more threads

// Adds an axis to a shape, merged with the one before where strides allow.
void append(Shape& shape, Strides& strides, std::int64_t size, std::int64_t stride) {
  if (size == 1) return;
  const int last = shape.size() - 1;
  if (last >= 0 && strides[last] == stride * size) {
    shape[last] *= size;
    strides[last] = stride;
  } else {
    shape.push_back(size);
    strides.push_back(stride);
  }
}

constexpr std::int64_t far = std::numeric_limits<std::int64_t>::max();

// Elements between neighbours along an axis. Repeated elements lie nowhere near.
std::int64_t distance(const Tensor& x, std::int64_t axis) {
  const int i = static_cast<int>(axis);
  return x.shape()[i] == 1 || x.strides()[i] == 0 ? far : x.strides()[i];
}

// Which way to read: `down` rows of neighbouring results, or `across` the elements of one result after
// another.
struct Plan {
  Plan(const Tensor& x, const Axes& axes, bool in_order) {
    const auto nearest_last = [&](Axes& some) {  // std::stable_sort would allocate
      for (int i = 1; i < some.size(); ++i)
        for (int j = i; j > 0 && distance(x, some[j - 1]) < distance(x, some[j]); --j)
          std::swap(some[j - 1], some[j]);
    };
    for (int i = 0; i < x.rank(); ++i) (axes.contains(i) ? reduced : kept).push_back(i);
    nearest_last(kept);
    if (!in_order) nearest_last(reduced);
    for (auto i : kept)
      append(shape, strides, x.shape()[static_cast<int>(i)], x.strides()[static_cast<int>(i)]);
    std::int64_t step = far;  // from one reduced element to the next
    for (auto i : reduced) {
      append(rows, row_strides, x.shape()[static_cast<int>(i)], x.strides()[static_cast<int>(i)]);
      if (x.shape()[static_cast<int>(i)] != 1) step = distance(x, i);
    }
    results = numel(shape);
    length = numel(rows);
    if (shape.empty() || strides.back() == 0) return;
    inner = shape.back();
    // Short columns of few results are not worth the setting up; short rows are, even where they must be
    // gathered.
    const bool pays = inner == results || inner * length >= block_size / 2;
    down = pays && (strides.back() < step || (length <= short_row && inner >= lanes));
  }

  // t with its kept axes in this plan's order; `t` may have the reduced axes with size 1, or not.
  StridedView results_of(const Tensor& t, int rank) const {
    Shape s;
    Strides st;
    for (auto i : kept) {
      int axis = static_cast<int>(i);
      if (t.rank() != rank)
        axis -=
            static_cast<int>(std::count_if(reduced.begin(), reduced.end(), [&](auto r) { return r < i; }));
      s.push_back(t.shape()[axis]);
      st.push_back(t.strides()[axis]);
    }
    return StridedView(t, s, st, t.offset());
  }
  // x as results x elements of each.
  StridedView across(const Tensor& x) const {
    Shape s = shape;
    Strides st = strides;
    for (int i = 0; i < rows.size(); ++i) s.push_back(rows[i]), st.push_back(row_strides[i]);
    return StridedView(x, s, st, x.offset());
  }
  // Where the first element of a result lies.
  std::int64_t offset(const Tensor& x, std::int64_t result) const {
    std::int64_t at = x.offset();
    for (int i = shape.size() - 1; i >= 0; --i) {
      at += result % shape[i] * strides[i];
      result /= shape[i];
    }
    return at;
  }

  Axes kept, reduced;  // of x, by falling stride; the reduced ones in order where that matters
  Shape shape, rows;   // of the kept axes, and of the reduced ones: merged where strides allow
  Strides strides, row_strides;
  std::int64_t results, length, inner = 1;
  bool down = false;
};

// What one thread works in.
struct Room {
  alignas(64) double lane[2][lanes * max_width];
  alignas(64) double total[2][block_size];
  alignas(64) double scratch[lanes * max_width];
  Cells lane_cells() { return {lane[0], lane[1]}; }
  Cells totals() { return {total[0], total[1]}; }
};
static_assert(lanes * max_width >= block_size);

class Walk {
 public:
  Walk(const Accumulator& acc, const Tensor& x, const Axes& axes, const Tensor* value, const Tensor* index)
      : acc_(acc),
        x_(x),
        plan_(x, axes, index != nullptr),
        item_(size_of(acc.reads())),
        elements_(plan_.across(x)) {
    if (value) value_.emplace(plan_.results_of(*value, x.rank()));
    if (index) index_.emplace(plan_.results_of(*index, x.rank()));
  }

  void run() {
    if (plan_.results == 0) return;
    if (plan_.length == 0) return fill();
    const std::int64_t parts = ceil_div(plan_.inner, max_width);
    const std::int64_t each =
        std::max<std::int64_t>(1, tile_elements / plan_.length);  // results a tile reads across
    const std::int64_t width = plan_.down ? std::min(plan_.inner, max_width) : 1;
    const std::int64_t tiles =
        plan_.down ? plan_.results / plan_.inner * parts : ceil_div(plan_.results, each);
    blocks_ = ceil_div(plan_.length, block_size);

    const bool cut = blocks_ > 1 && tiles < enough_tiles;
    const std::int64_t blocks_each = cut ? ceil_div(4 * tile_elements, block_size * width) : blocks_;
    const std::int64_t cuts = ceil_div(blocks_, blocks_each);
    std::int64_t tiles_each = 1;
    if (plan_.down && cuts == 1)
      tiles_each = std::max<std::int64_t>(1, tile_elements / (width * plan_.length));
    if (cuts > 1) part_.emplace(static_cast<std::size_t>(2 * blocks_ * plan_.results * 8), Device());

    parallel_for(ceil_div(tiles, tiles_each) * cuts, [&](std::int64_t task) {
      Room room;
      const std::int64_t begin = task % cuts * blocks_each, end = std::min(blocks_, begin + blocks_each);
      const std::int64_t first = task / cuts * tiles_each;
      for (std::int64_t tile = first; tile < std::min(tiles, first + tiles_each); ++tile) {
        if (plan_.down) {
          const std::int64_t from = tile % parts * max_width;
          down(room, tile / parts * plan_.inner + from, std::min(max_width, plan_.inner - from), begin, end);
        } else {
          across(room, tile * each, std::min(plan_.results, (tile + 1) * each), begin, end);
        }
      }
    });
    if (part_) merge_parts();
  }

 private:
  // Rows of `n` elements, `pitch` elements apart, into the lanes.
  void add(Cells lane, const void* x, std::int64_t pitch, std::int64_t n, std::int64_t rows,
           std::int64_t done, std::int64_t step) const {
    const auto* p = static_cast<const char*>(x);
    if (pitch == n) {
      const std::int64_t rounds = rows / lanes, rest = rows % lanes;
      if (rounds > 0) acc_.add(lane, p, lanes * n, rounds, done, step);
      if (rest > 0) acc_.add(lane, p + rounds * lanes * n * item_, rest * n, 1, done + rounds, step);
    } else {
      for (std::int64_t r = 0; r < rows; ++r)
        acc_.add(lane + r % lanes * n, p + r * pitch * item_, n, 1, done + r / lanes, step);
    }
  }

  std::int64_t rows_in(std::int64_t block) const {
    return std::min(block_size, plan_.length - block * block_size);
  }
  Cells part(std::int64_t block, std::int64_t result) const {
    auto* p = static_cast<double*>(part_->data);
    return Cells{p, p + blocks_ * plan_.results} + (block * plan_.results + result);
  }
  static void copy(Cells from, Cells to, std::int64_t n) {
    std::copy_n(static_cast<const char*>(from.a), n * 8, static_cast<char*>(to.a));
    std::copy_n(static_cast<const char*>(from.b), n * 8, static_cast<char*>(to.b));
  }

  // Takes what a block came to, for n results.
  void keep(Cells block_cells, std::int64_t block, std::int64_t result, std::int64_t n, Cells total) const {
    if (part_)
      copy(block_cells, part(block, result), n);
    else if (block == 0)
      copy(block_cells, total, n);
    else
      acc_.merge(total, block * block_size, block_cells, rows_in(block), n);
  }

  void down(Room& room, std::int64_t result, std::int64_t n, std::int64_t begin, std::int64_t end) const {
    const Cells lane = room.lane_cells();
    Shape shape = plan_.rows;
    Strides strides = plan_.row_strides;
    shape.push_back(n);
    strides.push_back(plan_.strides.back());
    const StridedView tile(x_, shape, strides, plan_.offset(x_, result));
    const bool direct = x_.dtype() == acc_.reads() && strides.back() == 1 && plan_.rows.size() <= 1;
    const std::int64_t pitch = plan_.rows.empty() ? n : strides[0];
    const char* base = x_.raw<char>() + (plan_.offset(x_, result) - x_.offset()) * item_;

    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t rows = rows_in(block), first = block * block_size, step = first / lanes;
      acc_.start(lane, std::min(rows, lanes) * n, step);
      if (direct)
        add(lane, base + first * pitch * item_, pitch, n, rows, 0, step);
      else
        for (std::int64_t r = 0; r < rows; r += lanes) {
          const std::int64_t some = std::min(lanes, rows - r);
          add(lane, tile.read((first + r) * n, some * n, acc_.reads(), room.scratch), n, n, some, r / lanes,
              step);
        }
      acc_.fold(lane, n, rows);
      keep(lane, block, result, n, room.totals());
    }
    if (!part_) finish(room.totals(), result, n);
  }

  void across(Room& room, std::int64_t result, std::int64_t last, std::int64_t begin,
              std::int64_t end) const {
    const Cells lane = room.lane_cells();
    const std::int64_t together =
        std::max<std::int64_t>(1, block_size / plan_.length);  // results in one read
    for (; result < last; result += together) {
      const std::int64_t n = std::min(together, last - result);
      for (std::int64_t block = begin; block < end; ++block) {
        const std::int64_t rows = rows_in(block), first = block * block_size, step = first / lanes;
        const void* x = elements_.read(result * plan_.length + first, n * rows, acc_.reads(), room.scratch);
        for (std::int64_t i = 0; i < n; ++i) {
          acc_.start(lane, std::min(rows, lanes), step);
          add(lane, static_cast<const char*>(x) + i * rows * item_, 1, 1, rows, 0, step);
          acc_.fold(lane, 1, rows);
          keep(lane, block, result + i, 1, room.totals() + i);
        }
      }
      if (!part_) finish(room.totals(), result, n);
    }
  }

  void merge_parts() const {
    parallel_for(ceil_div(plan_.results, max_width), [&](std::int64_t tile) {
      const std::int64_t result = tile * max_width, n = std::min(max_width, plan_.results - result);
      for (std::int64_t block = 1; block < blocks_; ++block)
        acc_.merge(part(0, result), block * block_size, part(block, result), rows_in(block), n);
      finish(part(0, result), result, n);
    });
  }

  void finish(Cells total, std::int64_t result, std::int64_t n) const {
    double values[block_size];
    if (value_) {
      acc_.value(total, n, plan_.length, values);
      value_->write(result, n, acc_.gives(), values);
    }
    if (index_) index_->write(result, n, DType::i64, total.b);
  }

  // Every result of nothing.
  void fill() const {
    Room room;
    acc_.start(room.totals(), std::min(block_size, plan_.results), 0);
    for (std::int64_t result = 0; result < plan_.results; result += block_size)
      finish(room.totals(), result, std::min(block_size, plan_.results - result));
  }

  const Accumulator& acc_;
  const Tensor& x_;
  const Plan plan_;
  const std::int64_t item_;
  const StridedView elements_;
  std::optional<StridedView> value_, index_;
  std::int64_t blocks_ = 1;
  std::optional<Storage> part_;  // what each block came to, where a task does not see all of a result's
};

}  // namespace

void reduce(const Accumulator& acc, const Tensor& x, const Axes& axes, const Tensor* value,
            const Tensor* index) {
  Walk(acc, x, axes, value, index).run();
}

}  // namespace bobbin
