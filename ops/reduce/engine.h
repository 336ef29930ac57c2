// Reductions: what is kept while elements are folded (Accumulator), and the walk over a strided tensor. CPU
// only.
//
// Of the elements that make one result, element i of a block goes to lane i % lanes; a block's lanes are
// folded by halves, and blocks are merged in order. So results depend neither on the schedule nor on the
// number of threads. Elements come in row-major order of the reduced axes where an index is asked for, else
// as they lie in memory: sums of permuted tensors may round differently.
#pragma once
#include <bobbin/tensor.h>

#include "core/strided_copy.h"

namespace bobbin {

/// The two words an accumulator has for each result, in arrays of their own, so that loops vectorise.
struct Cells {
  void* a;
  void* b;
  Cells operator+(std::int64_t i) const {
    return {static_cast<char*>(a) + i * 8, static_cast<char*>(b) + i * 8};
  }
};

/// A fold with its types erased. Each call works on whole arrays of cells.
class Accumulator {
 public:
  static constexpr std::int64_t lanes = 16;

  virtual ~Accumulator() = default;
  virtual DType reads() const = 0;  ///< what elements are converted to
  virtual DType gives() const = 0;  ///< what `value` writes
  /// Makes n cells those of no element; `step` is that of the first element to come.
  virtual void start(Cells, std::int64_t n, std::int64_t step) const = 0;
  /// Takes `rounds` times n elements, one a cell; `done` rounds of this block came before.
  virtual void add(Cells, const void* x, std::int64_t n, std::int64_t rounds, std::int64_t done,
                   std::int64_t step) const = 0;
  /// Folds `lanes` rows of n cells, which took `rows` rows of elements, into the first row.
  virtual void fold(Cells, std::int64_t n, std::int64_t rows) const = 0;
  /// Merges n cells of `from`, which follow those of `to` in order; each took so many elements.
  virtual void merge(Cells to, std::int64_t count, Cells from, std::int64_t from_count,
                     std::int64_t n) const = 0;
  /// The results of n cells.
  virtual void value(Cells, std::int64_t n, std::int64_t count, void* out) const = 0;
};

/// Reduces x over `axes` (normalised) into `value`, and the second word, if it is an index, into `index`.
/// Either may be null; both are row-major, with reduced axes left out or of size 1.
void reduce(const Accumulator&, const Tensor& x, const Axes& axes, const Tensor* value,
            const Tensor* index = nullptr);

}  // namespace bobbin
