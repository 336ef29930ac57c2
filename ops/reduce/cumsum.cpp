// cumsum: checks, the CPU kernel and the public function. One thread scans a slice in order; neighbouring
// slices are scanned together, element by element.
#include "ops/reduce/cumsum.h"

#include <bobbin/parallel.h>

#include <algorithm>

#include "core/ceil_div.h"
#include "core/strided_copy.h"
#include "ops/promote.h"
#include "ops/reduce/reducers.h"

namespace bobbin {
namespace {

constexpr std::int64_t max_width = 256;                  // slices that are scanned together
constexpr std::int64_t tile_elements = 16 * block_size;  // a task for a thread

// x and y seen as [outer, n, inner], scanned along n.
template<class Total>
class Scan {
 public:
  Scan(const Tensor& x, const Tensor& y, int axis, bool reverse)
      : x_(x), y_(y), reverse_(reverse), n_(x.size(axis)) {
    for (int i = axis + 1; i < x.rank(); ++i) inner_ *= x.shape()[i];
  }

  void run() const {
    const std::int64_t groups = ceil_div(inner_, max_width), tiles = y_.numel() / (n_ * inner_) * groups;
    const std::int64_t each = std::max<std::int64_t>(1, tile_elements / (n_ * std::min(inner_, max_width)));
    parallel_for(ceil_div(tiles, each), [&](std::int64_t task) {
      for (std::int64_t tile = task * each; tile < std::min(tiles, (task + 1) * each); ++tile) {
        const std::int64_t first = tile / groups * n_ * inner_, column = tile % groups * max_width;
        if (inner_ == 1)
          scan_slice(first);
        else
          scan_slices(first + column, std::min(max_width, inner_ - column));
      }
    });
  }

 private:
  static Total plus(Total a, Total b) { return reducer::Sum<Total, Total>::plus(a, b); }
  void read(std::int64_t at, Total* to, std::int64_t n) const {
    convert(x_.dtype(), x_.raw<char>() + at * size_of(x_.dtype()), 1, dtype_of<Total>(), to, n);
  }
  void write(const Total* from, std::int64_t at, std::int64_t n) const {
    convert(dtype_of<Total>(), from, 1, y_.dtype(), y_.raw<char>() + at * size_of(y_.dtype()), n);
  }

  // Scans one slice, whose elements are contiguous.
  void scan_slice(std::int64_t first) const {
    Total v[block_size], total = 0;
    for (std::int64_t done = 0; done < n_; done += block_size) {
      const std::int64_t n = std::min(block_size, n_ - done), at = first + (reverse_ ? n_ - done - n : done);
      read(at, v, n);
      if (reverse_)
        for (std::int64_t i = n - 1; i >= 0; --i) v[i] = total = plus(total, v[i]);
      else
        for (std::int64_t i = 0; i < n; ++i) v[i] = total = plus(total, v[i]);
      write(v, at, n);
    }
  }

  // Scans `width` slices, whose elements of the same index are contiguous.
  void scan_slices(std::int64_t first, std::int64_t width) const {
    Total v[max_width], total[max_width] = {};
    for (std::int64_t i = 0; i < n_; ++i) {
      const std::int64_t at = first + (reverse_ ? n_ - 1 - i : i) * inner_;
      read(at, v, width);
      for (std::int64_t j = 0; j < width; ++j) total[j] = plus(total[j], v[j]);
      write(total, at, width);
    }
  }

  const Tensor &x_, &y_;
  const bool reverse_;
  const std::int64_t n_;
  std::int64_t inner_ = 1;
};

}  // namespace

TensorSpec CumSum::infer(Inputs x) const {
  normalize_axis(name, axis, x[0].rank());
  if (x[0].dtype() == DType::boolean)
    fail<DTypeError>(name, ": expected numbers; got ", x[0].spec(), "; convert it with to(x, DType)");
  return {x[0].shape(), is_floating(x[0].dtype()) ? x[0].dtype() : DType::i64, x[0].device()};
}

void CumSum::cpu(Inputs x, Tensor& y) const {
  if (y.numel() == 0) return;
  const int dim = normalize_axis(name, axis, y.rank());
  if (is_floating(y.dtype()))
    Scan<double>(x[0], y, dim, reverse).run();
  else
    Scan<std::int64_t>(x[0], y, dim, reverse).run();
}

Tensor cumsum(const Tensor& x, int axis, bool reverse) { return record(CumSum{axis, reverse}, {in_f32(x)}); }

}  // namespace bobbin
