// Softmax of short rows on the CPU: as many rows as a vector has lanes beside each other, a lane each, so
// that nothing is folded over lanes. What happens to a row depends on it alone.
#pragma once
#include <algorithm>
#include <limits>

#include "rows.h"
#include "vectors.h"

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
      Vector<T> v[lanes] = {};
      for (std::int64_t r = 0; r < rows; ++r)
        v[r] = bobbin::read(first + r * n + j, std::min(lanes, there - r * n - j));
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

/// Calls f(x..., y, n) with the columns of some rows of n elements, a vector a column: those of the inputs
/// and, to be written, the output's. Lanes without a row hold zeros.
template<class T, int inputs, class F>
void by_columns(const RowBlock& block, std::int64_t n, F&& f) {
  constexpr std::int64_t lanes = lanes_of<T>;
  alignas(64) T x[inputs][most_columns][lanes], y[most_columns][lanes];
  for (std::int64_t first = 0; first < block.count; first += lanes) {
    const std::int64_t rows = std::min(lanes, block.count - first), there = (block.count - first) * n;
    for (int k = 0; k < inputs; ++k)
      Square<T>::read(reinterpret_cast<const T*>(block.in[static_cast<std::size_t>(k)]) + first * n, n, rows,
                      there, x[k]);
    if constexpr (inputs == 1)
      f(x[0], y, n);
    else
      f(x[0], x[1], y, n);
    Square<T>::write(y, n, rows, block.large, reinterpret_cast<T*>(block.out) + first * n);
  }
  if (block.large) end_streams();
}

template<class T>
using Columns = T (*)[lanes_of<T>];
template<class T>
using Sums __attribute__((vector_size(8 * lanes_of<T>))) = double;

/// y = exp(x - max) / sum(exp(x - max)) in each lane.
template<class T>
void softmax_columns(Columns<T> x, Columns<T> y, std::int64_t n) {
  Vector<T> most = Vector<T>{} - std::numeric_limits<T>::infinity();
  for (std::int64_t j = 0; j < n; ++j) {
    const Vector<T> v = load(x[j]);
    most = v > most ? v : most;  // NaN is passed over here, and spoils the sum
  }
  Sums<T> total{};
  for (std::int64_t j = 0; j < n; ++j) {
    const Vector<T> e = exp_difference(load(x[j]), most);
    total += __builtin_convertvector(e, Sums<T>);
    store<T>(e, y[j]);
  }
  const Vector<T> scale = __builtin_convertvector(1 / total, Vector<T>);
  for (std::int64_t j = 0; j < n; ++j) store<T>(load(y[j]) * scale, y[j]);
}

/// y = o (g - sum(o g)) in each lane.
template<class T>
void softmax_backward_columns(Columns<T> o, Columns<T> g, Columns<T> y, std::int64_t n) {
  Sums<T> total{};
  for (std::int64_t j = 0; j < n; ++j) total += __builtin_convertvector(load(o[j]) * load(g[j]), Sums<T>);
  const Vector<T> dot = __builtin_convertvector(total, Vector<T>);
  for (std::int64_t j = 0; j < n; ++j) store<T>(load(o[j]) * (load(g[j]) - dot), y[j]);
}

}  // namespace bobbin::rows
