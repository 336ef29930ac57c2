// Softmax of short rows on the CPU: as many rows at a time as a vector has lanes, whose maxima and sums are
// folded together. What happens to a row depends on it alone.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "core/ceil_div.h"
#include "ops/cpu/exponentials.h"
#include "ops/cpu/rows.h"

namespace bobbin::rows {

inline constexpr std::int64_t most_short = 256;  // some rows of the input, and of the output, stay in L1

/// Some neighbouring rows of n elements, and as much behind the last one as makes its last vector whole.
template<class T>
class FewRows {
 public:
  static constexpr std::int64_t lanes = lanes_of<T>;
  FewRows(const RowBlock& block, std::int64_t n) : block_(block), n_(n), last_((n - 1) / lanes * lanes) {
    T ones[lanes] = {};
    std::memset(ones, -1, static_cast<std::size_t>(n - last_) * sizeof(T));
    there_ = load(ones);
  }

  template<class F>
  void each(F&& f) {
    for (first_ = 0; first_ < block_.count; first_ += lanes) {
      rows_ = std::min(lanes, block_.count - first_);
      for (std::size_t k = 0; k < in_.size(); ++k) in_[k] = block_.in[k] ? input(k) : nullptr;
      f();
    }
    if (block_.large) end_streams();
  }

  const T* in(std::size_t k) const { return in_[k]; }
  /// Lane r of the result is f of the lanes of terms(r), a row's.
  template<class Terms, class F>
  [[gnu::always_inline]] Vector<T> fold(Terms&& terms, F&& f) const {
    alignas(64) T all[lanes][lanes];
    for (std::int64_t r = 0; r < rows_; ++r) store<T>(terms(r), all[r]);
    for (std::int64_t r = rows_; r < lanes; ++r) store<T>({}, all[r]);
    return fold_each<T>(all, f);
  }
  /// Calls f(i, v...) with the vectors of input row r that begin at element i, `rest` behind the row.
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
    for (std::int64_t i = 0; i < last; i += lanes) at(i, [](const Vector<T>& v) { return v; });
    at(last,
       [there = there_, fill = Vector<T>::all(rest)](const Vector<T>& v) { return select(there, v, fill); });
  }
  /// Fetches what the next rows will read where this one has element i.
  template<std::size_t inputs>
  void prefetch(std::int64_t r, std::int64_t i) const {
    for (std::size_t k = 0; k < inputs; ++k) __builtin_prefetch(in_[k] + (lanes + r) * n_ + i);
  }
  /// Row r of y = f(r)(i), the elements from i on.
  template<class F>
  [[gnu::always_inline]] void write(F&& f) const {
    alignas(64) T room[lanes * most_short + lanes];
    T* const y = block_.output<T>(first_);
    const bool large = block_.large && reinterpret_cast<std::uintptr_t>(y) % 64 == 0;
    const auto rows = [&, n = n_, last = last_, count = rows_](T* to, std::int64_t whole, auto&& put) {
      for (std::int64_t r = 0; r < count; ++r, to += n) {
        const auto row = f(r);
        for (std::int64_t i = 0; i < last; i += lanes) put(row(i), to + i);
        r < whole ? put(row(last), to + last) : store<T>(row(last), to + last, n - last);
      }
    };
    if (large && n_ % lanes == 0) return rows(y, rows_, stream<T>);
    if (large && rows_ == lanes) {
      rows(room, rows_, [](const Vector<T>& v, T* to) { store<T>(v, to); });
      for (std::int64_t i = 0; i < lanes * n_; i += lanes) stream<T>(load(room + i), y + i);
      return;
    }
    // What is written behind a row belongs to the next ones, where there are some.
    const std::int64_t whole = std::max<std::int64_t>(0, (rows_ * n_ - last_ - lanes + n_) / n_);
    rows(y, whole, [](const Vector<T>& v, T* to) { store<T>(v, to); });
  }

 private:
  // Where rows of an input lie, or a copy of them at the end of the block.
  const T* input(std::size_t k) {
    const T* const x = block_.input<T>(k, first_);
    if ((rows_ - 1) * n_ + last_ + lanes <= (block_.count - first_) * n_) return x;
    return std::copy_n(x, rows_ * n_, copy_[k]), copy_[k];
  }
  const RowBlock block_;
  const std::int64_t n_, last_;
  Vector<T> there_;
  std::int64_t first_ = 0, rows_ = 0;
  std::array<const T*, 2> in_{};
  T copy_[2][lanes * most_short + lanes];
};

/// y = exp(x - max) / sum(exp(x - max)) for rows of at most most_short elements.
template<class T>
void softmax_short(const RowBlock& block, std::int64_t n) {
  constexpr std::int64_t lanes = lanes_of<T>;
  constexpr T none = -std::numeric_limits<T>::infinity();
  alignas(64) T room[lanes * most_short];
  const std::int64_t pitch = ceil_div(n, lanes) * lanes;
  FewRows<T> few(block, n);
  few.each([&] {
    // NaN is passed over here, and spoils the sum.
    const Vector<T> most = few.fold(
        [&](std::int64_t r) {
          Vector<T> most = Vector<T>::all(none);
          few.template each_vector<1>(r, none,
                                      [&](std::int64_t, const Vector<T>& x) { most = larger(x, most); });
          return most;
        },
        [](const auto& a, const auto& b) { return a > b ? a : b; });
    const Exponentials<T> exponentials(most);
    const Vector<T> total = few.fold(
        [&](std::int64_t r) {
          Vector<T> sum{};
          exponentials.of(r, [&, e = room + r * pitch](const auto& exp) {
            few.template each_vector<1>(r, none, [&](std::int64_t i, const Vector<T>& x) {
              few.template prefetch<1>(r, i);
              const Vector<T> v = exp(x);
              store<T>(v, e + i);
              sum += v;
            });
          });
          return sum;
        },
        [](const auto& a, const auto& b) { return a + b; });
    T scale[lanes];
    store<T>(Vector<T>::all(1) / total, scale);
    few.write([&](std::int64_t r) {
      return
          [e = room + r * pitch, by = Vector<T>::all(scale[r])](std::int64_t i) { return load(e + i) * by; };
    });
  });
}

/// dx = o (g - sum(o g)), likewise.
template<class T>
void softmax_backward_short(const RowBlock& block, std::int64_t n) {
  FewRows<T> few(block, n);
  few.each([&] {
    T dot[lanes_of<T>];
    store<T>(few.fold(
                 [&](std::int64_t r) {
                   Vector<T> sum{};
                   few.template each_vector<2>(r, 0,
                                               [&](std::int64_t i, const Vector<T>& o, const Vector<T>& g) {
                                                 few.template prefetch<2>(r, i);
                                                 sum += o * g;
                                               });
                   return sum;
                 },
                 [](const auto& a, const auto& b) { return a + b; }),
             dot);
    few.write([&](std::int64_t r) {
      return [o = few.in(0) + r * n, g = few.in(1) + r * n, less = Vector<T>::all(dot[r])](std::int64_t i) {
        return load(o + i) * (load(g + i) - less);
      };
    });
  });
}

}  // namespace bobbin::rows
