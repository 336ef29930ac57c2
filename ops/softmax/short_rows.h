// Softmax of short rows on the CPU. As many rows as a vector has lanes are computed at a time, and their
// maxima and sums are reduced together. The result of a row does not depend on its neighbours.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "core/ceil_div.h"
#include "ops/cpu/exponentials.h"
#include "ops/cpu/rows.h"
#include "ops/softmax/dominated_row.h"

namespace bobbin::rows {

using simd::load, simd::store, simd::Vector;

inline constexpr std::int64_t max_short =
    256;  // elements of a row; the input and the exponentials of a group then fit L1

/// Groups of neighbouring rows of n elements, which are read in whole vectors: the last vector of a row
/// reaches beyond its end.
template<class T>
class RowGroups {
 public:
  static constexpr std::int64_t lanes = simd::lanes<T>;
  RowGroups(const RowBlock& block, std::int64_t n) : block_(block), n_(n), last_((n - 1) / lanes * lanes) {
    T ones[lanes] = {};
    std::memset(ones, -1, static_cast<std::size_t>(n - last_) * sizeof(T));
    in_row_ = load(ones);
  }

  /// Calls f() for each group.
  template<class F>
  void each(F&& f) {
    for (first_ = 0; first_ < block_.count; first_ += lanes) {
      rows_ = std::min(lanes, block_.count - first_);
      for (std::size_t k = 0; k < in_.size(); ++k) in_[k] = block_.in[k] ? input(k) : nullptr;
      f();
    }
    if (block_.large) simd::end_streams();
  }

  /// The number of rows in the group.
  std::int64_t rows() const { return rows_; }
  /// The rows of input k.
  const T* in(std::size_t k) const { return in_[k]; }
  /// terms(r) is a vector of row r. Lane r of the result is its lanes, combined with f.
  template<class Terms, class F>
  [[gnu::always_inline]] Vector<T> reduce(Terms&& terms, F&& f) const {
    alignas(64) T all[lanes][lanes];
    for (std::int64_t r = 0; r < rows_; ++r) store<T>(terms(r), all[r]);
    for (std::int64_t r = rows_; r < lanes; ++r) store<T>({}, all[r]);
    return simd::reduce_each<T>(all, f);
  }
  /// Calls f(i, v...) for each vector of row r: v are the elements from i on, of each input. Elements beyond
  /// the row are `rest`.
  template<std::size_t inputs, class F>
  [[gnu::always_inline]] void each_vector(std::int64_t r, T rest, F&& f) const {
    const T* x[inputs];
    for (std::size_t k = 0; k < inputs; ++k) x[k] = in_[k] + r * n_;
    const auto at = [&](std::int64_t i, auto&& of) {
      if constexpr (inputs == 1)
        f(i, of(load(x[0] + i)));
      else
        f(i, of(load(x[0] + i)), of(load(x[1] + i)));
    };
    const std::int64_t last = last_;
#pragma GCC unroll 2
    for (std::int64_t i = 0; i < last; i += lanes) at(i, [](const Vector<T>& v) { return v; });
    at(last, [mask = in_row_, fill = Vector<T>::all(rest)](const Vector<T>& v) {
      return if_then_else(mask, v, fill);
    });
  }
  /// Prefetches element i of row r of the next group.
  template<std::size_t inputs>
  void prefetch(std::int64_t r, std::int64_t i) const {
    for (std::size_t k = 0; k < inputs; ++k) __builtin_prefetch(in_[k] + (lanes + r) * n_ + i);
  }
  /// Writes row r of the output: f(r)(i) gives the vector that begins at element i.
  template<class F>
  [[gnu::always_inline]] void write(F&& f) const {
    alignas(64) T buffer[lanes * max_short + lanes];
    T* const y = block_.output<T>(first_);
    const bool large = block_.large && reinterpret_cast<std::uintptr_t>(y) % 64 == 0;
    const auto rows = [&, n = n_, last = last_, count = rows_](T* to, std::int64_t whole, auto&& put) {
      for (std::int64_t r = 0; r < count; ++r, to += n) {
        const auto row = f(r);
        for (std::int64_t i = 0; i < last; i += lanes) put(row(i), to + i);
        r < whole ? put(row(last), to + last) : store<T>(row(last), to + last, n - last);
      }
    };
    if (large && n_ % lanes == 0) return rows(y, rows_, simd::stream<T>);
    if (large && rows_ == lanes) {
      rows(buffer, rows_, [](const Vector<T>& v, T* to) { store<T>(v, to); });
      for (std::int64_t i = 0; i < lanes * n_; i += lanes) simd::stream<T>(load(buffer + i), y + i);
      return;
    }
    // A whole vector at the end of a row overwrites elements of the next rows, which are written later. A row
    // that is followed by too few elements ends with a partial vector.
    const std::int64_t whole = std::max<std::int64_t>(0, (rows_ * n_ - last_ - lanes + n_) / n_);
    rows(y, whole, [](const Vector<T>& v, T* to) { store<T>(v, to); });
  }

 private:
  // The rows of input k, or a copy of them at the end of the block, where no whole vector can be read.
  const T* input(std::size_t k) {
    const T* const x = block_.input<T>(k, first_);
    if ((rows_ - 1) * n_ + last_ + lanes <= (block_.count - first_) * n_) return x;
    return std::copy_n(x, rows_ * n_, copy_[k]), copy_[k];
  }
  const RowBlock block_;
  const std::int64_t n_, last_;
  Vector<T> in_row_;
  std::int64_t first_ = 0, rows_ = 0;
  std::array<const T*, 2> in_{};
  T copy_[2][lanes * max_short + lanes];
};

/// y = exp(x - max) / sum(exp(x - max)) for rows of at most max_short elements.
template<class T>
void softmax_short(const RowBlock& block, std::int64_t n) {
  constexpr std::int64_t lanes = simd::lanes<T>;
  constexpr T none = -std::numeric_limits<T>::infinity();
  alignas(64) T buffer[lanes * max_short];
  const std::int64_t pitch = ceil_div(n, lanes) * lanes;
  RowGroups<T> groups(block, n);
  groups.each([&] {
    // The maximum ignores NaN; the sum is NaN then.
    const Vector<T> max = groups.reduce(
        [&](std::int64_t r) {
          Vector<T> max = Vector<T>::all(none);
          groups.template each_vector<1>(r, none,
                                         [&](std::int64_t, const Vector<T>& x) { max = simd::max(x, max); });
          return max;
        },
        [](const auto& a, const auto& b) { return a > b ? a : b; });
    const simd::Exponentials<T> exponentials(max);
    const Vector<T> total = groups.reduce(
        [&](std::int64_t r) {
          Vector<T> sum{}, other{};  // added to in turn, which rounds less
          exponentials.of(r, [&, e = buffer + r * pitch](const auto& exp) {
            groups.template each_vector<1>(r, none, [&](std::int64_t i, const Vector<T>& x) {
              groups.template prefetch<1>(r, i);
              const Vector<T> v = exp(x), next = other + v;
              store<T>(v, e + i);
              other = sum;
              sum = next;
            });
          });
          return sum + other;
        },
        [](const auto& a, const auto& b) { return a + b; });
    T scale[lanes];
    store<T>(Vector<T>::all(1) / total, scale);
    groups.write([&](std::int64_t r) {
      return [e = buffer + r * pitch, by = Vector<T>::all(scale[r])](std::int64_t i) {
        return load(e + i) * by;
      };
    });
  });
}

/// dx = o ((g - c) - rest) for rows of at most max_short elements; c and rest are explained in
/// dominated_row.h.
template<class T>
void softmax_backward_short(const RowBlock& block, std::int64_t n) {
  RowGroups<T> groups(block, n);
  groups.each([&] {
    T dot[simd::lanes<T>];
    Vector<T> most{};  // of all rows
    store<T>(groups.reduce(
                 [&](std::int64_t r) {
                   Vector<T> sum{};
                   groups.template each_vector<2>(
                       r, 0, [&](std::int64_t i, const Vector<T>& o, const Vector<T>& g) {
                         groups.template prefetch<2>(r, i);
                         sum += o * g;
                         most = simd::max(o, most);
                       });
                   return sum;
                 },
                 [](const auto& a, const auto& b) { return a + b; }),
             dot);
    if (is_dominant(simd::reduce<T>(most, [](const auto& a, const auto& b) { return a > b ? a : b; }))) {
      groups.write([&](std::int64_t r) {
        const T *const o = groups.in(0) + r * n, *const g = groups.in(1) + r * n;
        const bool dominated = std::any_of(o, o + n, is_dominant<T>);
        const RowSums<T> sums = dominated ? dominated_sums(o, g, n) : RowSums<T>{0, dot[r]};
        return [o, g, c = Vector<T>::all(sums.c), rest = Vector<T>::all(sums.rest)](std::int64_t i) {
          return load(o + i) * ((load(g + i) - c) - rest);
        };
      });
      return;
    }
    groups.write([&](std::int64_t r) {
      return [o = groups.in(0) + r * n, g = groups.in(1) + r * n,
              less = Vector<T>::all(dot[r])](std::int64_t i) { return load(o + i) * (load(g + i) - less); };
    });
  });
}

}  // namespace bobbin::rows
