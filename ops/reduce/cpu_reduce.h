// Reduces strided tensors on the CPU. Reducer is the interface to the mathematics, on arrays of accumulators.
//
// The elements of one result are reduced in blocks of block_size. Element i of a block goes to lane i %
// lanes; the lanes of a block are then combined pairwise, and the blocks in order. So results depend neither
// on the schedule nor on the number of threads. Elements come in row-major order of the reduced axes where an
// index is asked for, else in the order of memory: sums of permuted tensors may round differently.
#pragma once
#include <bobbin/tensor.h>

#include "core/strided_copy.h"

namespace bobbin {

/// An array of accumulators: the two values of each (reducers.h) are in two separate arrays, so that loops
/// vectorise. Every value has 8 bytes.
struct Accumulators {
  void* a;
  void* b;
  Accumulators operator+(std::int64_t i) const {
    return {static_cast<char*>(a) + i * 8, static_cast<char*>(b) + i * 8};
  }
};

/// A reducer with its types erased.
class Reducer {
 public:
  static constexpr std::int64_t lanes = 16;

  virtual ~Reducer() = default;
  virtual DType reads() const = 0;  ///< the dtype of elements for reduce()
  virtual DType gives() const = 0;  ///< the dtype that project() writes
  /// Makes n accumulators empty; `step` is the step of their first element.
  virtual void init(Accumulators, std::int64_t n, std::int64_t step) const = 0;
  /// Adds `rounds` rounds of n elements: one element to each accumulator per round. Accumulators have `done`
  /// elements of this block already.
  virtual void reduce(Accumulators, const void* x, std::int64_t n, std::int64_t rounds, std::int64_t done,
                      std::int64_t step) const = 0;
  /// Combines `lanes` rows of n accumulators, which together hold `rows` rows of elements, into the first
  /// row.
  virtual void combine_lanes(Accumulators, std::int64_t n, std::int64_t rows) const = 0;
  /// Combines n accumulators of `count` elements each with those of the `from_count` elements that follow.
  virtual void combine(Accumulators to, std::int64_t count, Accumulators from, std::int64_t from_count,
                       std::int64_t n) const = 0;
  /// Writes the results of n accumulators of `count` elements.
  virtual void project(Accumulators, std::int64_t n, std::int64_t count, void* out) const = 0;
};

/// Reduces x over `axes` (normalised) into `value`, and the index that the accumulators keep into `index`.
/// Either may be null; both are row-major, with reduced axes left out or of size 1.
void reduce(const Reducer&, const Tensor& x, const Axes& axes, const Tensor* value,
            const Tensor* index = nullptr);

}  // namespace bobbin
