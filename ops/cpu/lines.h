// An operand of a matrix product as lines of terms, whichever way it lies in memory.
#pragma once
#include <algorithm>

#include "ops/cpu/registers.h"
#include "ops/cpu/vectors.h"

namespace bobbin {

/// Element k of line i is at data[i * line + k * term]; one of the two steps is 1.
template<class T>
struct Lines {
  const T* data;
  std::int64_t count, terms, line, term;
  const T* at(std::int64_t i, std::int64_t k) const { return data + i * line + k * term; }
};

/// Some terms of some neighbouring lines as sums read them: term by term, a lane a line.
template<class T>
class LineBlock {
 public:
  static constexpr std::int64_t lanes = register_lanes<T>,
                                most_terms = (24 << 10) / (sum_registers * register_bytes);  // stays in L1

  /// `terms` terms from k on, of the lines of `part`. Lanes beyond the last line hold anything.
  void fill(const Lines<T>& from, const RegisterPart& part, std::int64_t k, std::int64_t terms) {
    width_ = part.count * lanes;
    const std::int64_t first = part.first * lanes, n = std::min(width_, from.count - first);
    if (from.line == 1)
      copy(from.at(first, k), n, from.term, terms);
    else
      for (std::int64_t j = 0; j < n; j += lanes)
        turn(from.at(first + j, k), std::min(lanes, n - j), from.line, terms, data_ + j);
  }
  const T* at(std::int64_t k) const { return data_ + k * width_; }

 private:
  using R = Register<T>;

  void copy(const T* from, std::int64_t n, std::int64_t step, std::int64_t terms) {
    T* to = data_;
    for (std::int64_t k = 0; k < terms; ++k, from += step, to += width_) {
      std::int64_t j = 0;
      for (; j + lanes <= n; j += lanes)
        *reinterpret_cast<R*>(to + j) = *reinterpret_cast<const R*>(from + j);
      for (; j < n; ++j) to[j] = from[j];
    }
  }
  // Lines that are not there are the last one again.
  void turn(const T* from, std::int64_t n, std::int64_t line, std::int64_t terms, T* to) const {
    std::int64_t k = 0;
    for (; k + lanes <= terms; k += lanes) {
      R square[lanes];
      for (std::int64_t i = 0; i < lanes; ++i)
        square[i] = *reinterpret_cast<const R*>(from + std::min(i, n - 1) * line + k);
      transpose(square);
      for (std::int64_t i = 0; i < lanes; ++i) *reinterpret_cast<R*>(to + (k + i) * width_) = square[i];
    }
    for (; k < terms; ++k)
      for (std::int64_t i = 0; i < n; ++i) to[k * width_ + i] = from[i * line + k];
  }

  std::int64_t width_ = 0;
  alignas(64) T data_[most_terms * sum_registers * lanes];
};

}  // namespace bobbin
