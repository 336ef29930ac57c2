// An operand of a matrix product, laid out as sum_products wants to read it.
#pragma once
#include <bobbin/tensor.h>

#include <algorithm>

#include "registers.h"
#include "vectors.h"

namespace bobbin {

/// One operand as the sums want it: strips of `lanes` lines, term by term; zeros where there are no more
/// lines.
template<class T>
class Strips {
 public:
  static constexpr std::int64_t lanes = register_lanes<T>;
  /// Element k of line i is at from[i * line + k * term]; one of the two steps is 1.
  Strips(const T* from, std::int64_t lines, std::int64_t terms, std::int64_t line, std::int64_t term)
      : from_(from),
        lines_(lines),
        terms_(terms),
        line_(line),
        term_(term),
        space_(empty({count() * terms * lanes}, dtype_of<T>())) {}

  std::int64_t lines() const { return lines_; }
  std::int64_t terms() const { return terms_; }
  std::int64_t count() const { return (lines_ + lanes - 1) / lanes; }
  std::int64_t size() const { return terms_ * lanes; }
  const T* at(std::int64_t strip, std::int64_t term) const {
    return data() + (strip * terms_ + term) * lanes;
  }

  void fill(std::int64_t strip) const {
    const std::int64_t first = strip * lanes, n = std::min(lanes, lines_ - first);
    const T* const from = from_ + first * line_;
    T* const to = data() + strip * size();
    if (line_ == 1)
      copy(from, n, to);
    else if (n == lanes)
      turn(from, to);
    else
      turn_some(from, n, 0, to);
  }

 private:
  T* data() const { return static_cast<T*>(space_.raw()); }

  void copy(const T* from, std::int64_t n, T* to) const {
    for (std::int64_t k = 0; k < terms_; ++k, from += term_, to += lanes) {
      if (n == lanes)
        *reinterpret_cast<Register<T>*>(to) = *reinterpret_cast<const Register<T>*>(from);
      else
        std::fill(std::copy_n(from, n, to), to + lanes, T(0));
    }
  }
  void turn(const T* from, T* to) const {
    std::int64_t k = 0;
    for (; k + lanes <= terms_; k += lanes) {
      Register<T> block[lanes];
      for (std::int64_t i = 0; i < lanes; ++i)
        block[i] = *reinterpret_cast<const Register<T>*>(from + i * line_ + k);
      transpose(block);
      for (std::int64_t i = 0; i < lanes; ++i)
        *reinterpret_cast<Register<T>*>(to + (k + i) * lanes) = block[i];
    }
    turn_some(from, lanes, k, to);
  }
  void turn_some(const T* from, std::int64_t n, std::int64_t k, T* to) const {
    for (; k < terms_; ++k)
      for (std::int64_t i = 0; i < lanes; ++i) to[k * lanes + i] = i < n ? from[i * line_ + k * term_] : T(0);
  }

  const T* from_;
  std::int64_t lines_, terms_, line_, term_;
  Tensor space_;
};

}  // namespace bobbin
