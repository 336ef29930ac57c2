// Softmax of short rows on the CPU: as many rows as a vector has lanes beside each other, a lane each, so
// that nothing is folded over lanes. What happens to a row depends on it alone.
#pragma once
#include <algorithm>
#include <limits>

#include "exponentials.h"
#include "rows.h"

namespace bobbin::rows {

inline constexpr std::int64_t most_columns = 32;

/// Squares of some rows of n elements, a vector a row and then, turned round, a vector a column.
template<class T>
class Square {
 public:
  static constexpr std::int64_t lanes = lanes_of<T>;
  /// `rows` rows from `first` on, of which `there` elements can be read; zeros below them. To columns.
  static void read(const T* first, std::int64_t n, std::int64_t rows, std::int64_t there,
                   T (*columns)[lanes]) {
    for (std::int64_t j = 0; j < n; j += lanes) {
      Vector<T> v[lanes];
      if ((lanes - 1) * n + j + lanes <= there)
#pragma GCC unroll 16
        for (std::int64_t r = 0; r < lanes; ++r) v[r] = load(first + r * n + j);
      else
        for (std::int64_t r = 0; r < lanes; ++r)
          v[r] = r < rows ? bobbin::read(first + r * n + j, std::min(lanes, there - r * n - j)) : Vector<T>{};
      transpose(v);
#pragma GCC unroll 16
      for (std::int64_t k = 0; k < lanes; ++k) store<T>(v[k], columns[j + k]);
    }
  }
  /// Columns to rows. What is written behind a row belongs to the next, which is written later.
  static void write(T (*columns)[lanes], std::int64_t n, std::int64_t rows, bool large, T* first) {
    Vector<T> v[most_columns / lanes][lanes];
    for (std::int64_t j = 0; j < n; j += lanes) {
#pragma GCC unroll 16
      for (std::int64_t k = 0; k < lanes; ++k) v[j / lanes][k] = load(columns[j + k]);
      transpose(v[j / lanes]);
    }
    const bool streams = large && n % lanes == 0 && reinterpret_cast<std::uintptr_t>(first) % 64 == 0;
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t j = 0; j < n; j += lanes) {
        T* const to = first + r * n + j;
        if (streams)
          stream<T>(v[j / lanes][r], to);
        else if (const std::int64_t left = (rows - r) * n - j; left >= lanes)
          store<T>(v[j / lanes][r], to);
        else
          store<T>(v[j / lanes][r], to, left);
      }
  }
};

/// y = exp(x - max) / sum(exp(x - max)) for rows of at most `most_columns` elements.
template<class T>
void softmax_columns(const RowBlock& block, std::int64_t n) {
  constexpr std::int64_t lanes = lanes_of<T>, at_once = 4;
  constexpr T none = -std::numeric_limits<T>::infinity();
  alignas(64) T x[most_columns][lanes];
  const auto each = [&, end = (n + at_once - 1) / at_once * at_once](auto f) {
    for (std::int64_t j = 0; j < end; j += at_once)
#pragma GCC unroll 4
      for (std::int64_t k = 0; k < at_once; ++k) f(x[j + k], k);
  };
  for (std::int64_t first = 0; first < block.count; first += lanes) {
    const std::int64_t rows = std::min(lanes, block.count - first);
    Square<T>::read(block.input<T>(0, first), n, rows, (block.count - first) * n, x);
    for (std::int64_t j = n; j % at_once; ++j) store<T>(Vector<T>::all(none), x[j]);
    Vector<T> most[at_once], sum[at_once] = {};  // shorter sums round less
    std::fill(most, most + at_once, Vector<T>::all(none));
    // NaN is passed over here, and spoils the sum.
    each([&](T* column, std::int64_t k) { most[k] = larger(load(column), most[k]); });
    with_exponential(larger(larger(most[0], most[1]), larger(most[2], most[3])), [&](auto e) {
      each([&](T* column, std::int64_t k) {
        const Vector<T> v = e(load(column));
        sum[k] += v;
        store<T>(v, column);
      });
    });
    const Vector<T> scale = Vector<T>::all(1) / ((sum[0] + sum[1]) + (sum[2] + sum[3]));
    each([&](T* column, std::int64_t) { store<T>(load(column) * scale, column); });
    Square<T>::write(x, n, rows, block.large, block.output<T>(first));
  }
  if (block.large) end_streams();
}

}  // namespace bobbin::rows
