// reduce(): the dimensions of a reduction, its tiles, and the order in which their elements are reduced.
#include "ops/reduce/cpu_reduce.h"

#include <bobbin/parallel.h>

#include <algorithm>
#include <optional>

#include "core/ceil_div.h"
#include "core/collapse.h"
#include "ops/reduce/axis_order.h"

namespace bobbin {
namespace {

constexpr std::int64_t lanes = Reducer::lanes;
constexpr std::int64_t max_width = 256;  // results of a tile; their accumulators stay in the L1 cache
constexpr std::int64_t tile_elements = 16 * block_size;  // a task for a thread
constexpr std::int64_t short_row = 32;
constexpr std::int64_t enough_tiles = 32;  // with fewer, long reductions are cut into segments of blocks

// The kept and the reduced dimensions. An inner reduction reads the elements of one result after those of
// another; an outer one reads rows of neighbouring results, one element of each.
struct Dimensions : AxisOrder {
  Dimensions(const Tensor& x, const Axes& axes, bool in_order) : AxisOrder(x, axes, in_order) {
    const auto collapsed = [&](const Axes& some) {
      CollapsedDims<1> dims;
      for (int k = some.size() - 1; k >= 0; --k)
        dims.append(x.shape()[static_cast<int>(some[k])], {x.strides()[static_cast<int>(some[k])]});
      return dims;
    };
    const auto kept_dims = collapsed(kept), reduced_dims = collapsed(reduced);
    shape = kept_dims.shape(), strides = kept_dims.strides();
    reduced_shape = reduced_dims.shape(), reduced_strides = reduced_dims.strides();
    std::int64_t step = far;  // between reduced elements
    for (auto i : reduced)
      if (x.shape()[static_cast<int>(i)] != 1) step = distance(x, i);
    results = numel(shape);
    length = numel(reduced_shape);
    if (shape.empty() || strides.back() == 0) return;
    inner = shape.back();
    // An outer reduction of few elements costs more to set up than it saves. For short rows it is faster even
    // where their elements must be gathered.
    const bool pays = inner == results || inner * length >= block_size / 2;
    outer = pays && (strides.back() < step || (length <= short_row && inner >= lanes));
  }

  // The result t with its axes in the order of `kept`; t may have the reduced axes, of size 1.
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
  // x as [results, elements of each].
  StridedView by_result(const Tensor& x) const {
    Shape s = shape;
    Strides st = strides;
    for (int i = 0; i < reduced_shape.size(); ++i)
      s.push_back(reduced_shape[i]), st.push_back(reduced_strides[i]);
    return StridedView(x, s, st, x.offset());
  }
  // The offset of a result's first element in x.
  std::int64_t offset(const Tensor& x, std::int64_t result) const {
    std::int64_t at = x.offset();
    for (int i = shape.size() - 1; i >= 0; --i) {
      at += result % shape[i] * strides[i];
      result /= shape[i];
    }
    return at;
  }

  Shape shape, reduced_shape;  // of the kept and of the reduced axes, merged where strides allow
  Strides strides, reduced_strides;
  std::int64_t results, length, inner = 1;  // results; elements of each; results of the innermost dimension
  bool outer = false;
};

// The memory of a task.
struct Workspace {
  alignas(64) double lane[2][lanes * max_width];
  alignas(64) double total[2][block_size];
  alignas(64) double scratch[lanes * max_width];
  Accumulators lane_accumulators() { return {lane[0], lane[1]}; }
  Accumulators totals() { return {total[0], total[1]}; }
};
static_assert(lanes * max_width >= block_size);

class Reduction {
 public:
  Reduction(const Reducer& reducer, const Tensor& x, const Axes& axes, const Tensor* value,
            const Tensor* index)
      : reducer_(reducer),
        x_(x),
        dims_(x, axes, index != nullptr),
        item_(size_of(reducer.reads())),
        elements_(dims_.by_result(x)) {
    if (value) value_.emplace(dims_.results_of(*value, x.rank()));
    if (index) index_.emplace(dims_.results_of(*index, x.rank()));
  }

  void run() {
    if (dims_.results == 0) return;
    if (dims_.length == 0) return fill();
    const std::int64_t widths = ceil_div(dims_.inner, max_width);
    const std::int64_t each =
        std::max<std::int64_t>(1, tile_elements / dims_.length);  // results of a tile, in an inner reduction
    const std::int64_t width = dims_.outer ? std::min(dims_.inner, max_width) : 1;
    const std::int64_t tiles =
        dims_.outer ? dims_.results / dims_.inner * widths : ceil_div(dims_.results, each);
    blocks_ = ceil_div(dims_.length, block_size);

    const bool split = blocks_ > 1 && tiles < enough_tiles;
    const std::int64_t blocks_each = split ? ceil_div(4 * tile_elements, block_size * width) : blocks_;
    const std::int64_t segments = ceil_div(blocks_, blocks_each);
    std::int64_t tiles_each = 1;
    if (dims_.outer && segments == 1)
      tiles_each = std::max<std::int64_t>(1, tile_elements / (width * dims_.length));
    if (segments > 1)
      block_results_.emplace(static_cast<std::size_t>(2 * blocks_ * dims_.results * 8), Device());

    parallel_for(ceil_div(tiles, tiles_each) * segments, [&](std::int64_t task) {
      Workspace work;
      const std::int64_t begin = task % segments * blocks_each, end = std::min(blocks_, begin + blocks_each);
      const std::int64_t first = task / segments * tiles_each;
      for (std::int64_t tile = first; tile < std::min(tiles, first + tiles_each); ++tile) {
        if (dims_.outer) {
          const std::int64_t from = tile % widths * max_width;
          reduce_outer(work, tile / widths * dims_.inner + from, std::min(max_width, dims_.inner - from),
                       begin, end);
        } else {
          reduce_inner(work, tile * each, std::min(dims_.results, (tile + 1) * each), begin, end);
        }
      }
    });
    if (block_results_) combine_blocks();
  }

 private:
  // Reduces rows of n elements, `pitch` elements apart, into the lanes in turn.
  void add_rows(Accumulators lane, const void* x, std::int64_t pitch, std::int64_t n, std::int64_t rows,
                std::int64_t done, std::int64_t step) const {
    const auto* p = static_cast<const char*>(x);
    if (pitch == n) {
      const std::int64_t rounds = rows / lanes, rest = rows % lanes;
      if (rounds > 0) reducer_.reduce(lane, p, lanes * n, rounds, done, step);
      if (rest > 0) reducer_.reduce(lane, p + rounds * lanes * n * item_, rest * n, 1, done + rounds, step);
    } else {
      for (std::int64_t r = 0; r < rows; ++r)
        reducer_.reduce(lane + r % lanes * n, p + r * pitch * item_, n, 1, done + r / lanes, step);
    }
  }

  std::int64_t rows_in(std::int64_t block) const {
    return std::min(block_size, dims_.length - block * block_size);
  }
  Accumulators block_result(std::int64_t block, std::int64_t result) const {
    auto* p = static_cast<double*>(block_results_->data);
    return Accumulators{p, p + blocks_ * dims_.results} + (block * dims_.results + result);
  }
  static void copy(Accumulators from, Accumulators to, std::int64_t n) {
    std::copy_n(static_cast<const char*>(from.a), n * 8, static_cast<char*>(to.a));
    std::copy_n(static_cast<const char*>(from.b), n * 8, static_cast<char*>(to.b));
  }

  // Takes a block's accumulators of n results: stores them, or combines them with those of the blocks before.
  void finish_block(Accumulators from, std::int64_t block, std::int64_t result, std::int64_t n,
                    Accumulators total) const {
    if (block_results_)
      copy(from, block_result(block, result), n);
    else if (block == 0)
      copy(from, total, n);
    else
      reducer_.combine(total, block * block_size, from, rows_in(block), n);
  }

  // Reduces blocks [begin, end) of n neighbouring results, from `result` on.
  void reduce_outer(Workspace& work, std::int64_t result, std::int64_t n, std::int64_t begin,
                    std::int64_t end) const {
    const Accumulators lane = work.lane_accumulators();
    Shape shape = dims_.reduced_shape;
    Strides strides = dims_.reduced_strides;
    shape.push_back(n);
    strides.push_back(dims_.strides.back());
    const StridedView tile(x_, shape, strides, dims_.offset(x_, result));
    const bool direct =
        x_.dtype() == reducer_.reads() && strides.back() == 1 && dims_.reduced_shape.size() <= 1;
    const std::int64_t pitch = dims_.reduced_shape.empty() ? n : strides[0];
    const char* base = x_.raw<char>() + (dims_.offset(x_, result) - x_.offset()) * item_;

    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t rows = rows_in(block), first = block * block_size, step = first / lanes;
      reducer_.init(lane, std::min(rows, lanes) * n, step);
      if (direct)
        add_rows(lane, base + first * pitch * item_, pitch, n, rows, 0, step);
      else
        for (std::int64_t r = 0; r < rows; r += lanes) {
          const std::int64_t some = std::min(lanes, rows - r);
          add_rows(lane, tile.read((first + r) * n, some * n, reducer_.reads(), work.scratch), n, n, some,
                   r / lanes, step);
        }
      reducer_.combine_lanes(lane, n, rows);
      finish_block(lane, block, result, n, work.totals());
    }
    if (!block_results_) write(work.totals(), result, n);
  }

  // Reduces blocks [begin, end) of results [result, last), one result after the other.
  void reduce_inner(Workspace& work, std::int64_t result, std::int64_t last, std::int64_t begin,
                    std::int64_t end) const {
    const Accumulators lane = work.lane_accumulators();
    const std::int64_t together =
        std::max<std::int64_t>(1, block_size / dims_.length);  // results in one read
    for (; result < last; result += together) {
      const std::int64_t n = std::min(together, last - result);
      for (std::int64_t block = begin; block < end; ++block) {
        const std::int64_t rows = rows_in(block), first = block * block_size, step = first / lanes;
        const void* x =
            elements_.read(result * dims_.length + first, n * rows, reducer_.reads(), work.scratch);
        for (std::int64_t i = 0; i < n; ++i) {
          reducer_.init(lane, std::min(rows, lanes), step);
          add_rows(lane, static_cast<const char*>(x) + i * rows * item_, 1, 1, rows, 0, step);
          reducer_.combine_lanes(lane, 1, rows);
          finish_block(lane, block, result + i, 1, work.totals() + i);
        }
      }
      if (!block_results_) write(work.totals(), result, n);
    }
  }

  void combine_blocks() const {
    parallel_for(ceil_div(dims_.results, max_width), [&](std::int64_t tile) {
      const std::int64_t result = tile * max_width, n = std::min(max_width, dims_.results - result);
      for (std::int64_t block = 1; block < blocks_; ++block)
        reducer_.combine(block_result(0, result), block * block_size, block_result(block, result),
                         rows_in(block), n);
      write(block_result(0, result), result, n);
    });
  }

  void write(Accumulators total, std::int64_t result, std::int64_t n) const {
    double values[block_size];
    if (value_) {
      reducer_.project(total, n, dims_.length, values);
      value_->write(result, n, reducer_.gives(), values);
    }
    if (index_) index_->write(result, n, DType::i64, total.b);
  }

  // Writes the results of a reduction of no elements.
  void fill() const {
    Workspace work;
    reducer_.init(work.totals(), std::min(block_size, dims_.results), 0);
    for (std::int64_t result = 0; result < dims_.results; result += block_size)
      write(work.totals(), result, std::min(block_size, dims_.results - result));
  }

  const Reducer& reducer_;
  const Tensor& x_;
  const Dimensions dims_;
  const std::int64_t item_;
  const StridedView elements_;
  std::optional<StridedView> value_, index_;
  std::int64_t blocks_ = 1;
  std::optional<Storage> block_results_;  // accumulators of each block, where a result is split into segments
};

}  // namespace

void reduce(const Reducer& reducer, const Tensor& x, const Axes& axes, const Tensor* value,
            const Tensor* index) {
  Reduction(reducer, x, axes, value, index).run();
}

}  // namespace bobbin
