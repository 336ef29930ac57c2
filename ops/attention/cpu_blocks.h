// What attention's kernels for the CPU share: products of blocks, and the weights of a block of queries.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/ceil_div.h"
#include "core/philox.h"
#include "ops/attention/attention.h"
#include "ops/cpu/softmax_rows.h"

namespace bobbin::attention {

using simd::lanes, simd::register_lanes;

/// The most queries of a block. A block of logits, with the keys and values that it needs, fits the L2 cache.
inline constexpr std::int64_t most_queries = 64;

/// n rounded up to whole vectors.
template<class T>
std::int64_t padded(std::int64_t n) {
  return ceil_div(n, lanes<T>) * lanes<T>;
}

/// The sizes of a call.
struct Sizes {
  explicit Sizes(const AttentionCall& c)
      : b(c.query.size(0)),
        h(c.query.size(1)),
        l(c.query.size(2)),
        d(c.query.size(3)),
        k(c.key.size(1)),
        s(c.key.size(2)),
        e(c.value.size(3)),
        causal(c.terms.causal),
        queries(causal ? most_queries / 2 : most_queries) {}
  std::int64_t b, h, l, d, k, s, e;
  bool causal;
  std::int64_t queries;  ///< of a block: a causal mask hides part of what a large one computes
  std::int64_t group() const { return h / k; }  ///< heads of the query that read one head of the key
  std::int64_t blocks() const { return ceil_div(l, queries); }
  /// The number of keys that query i and those before it attend to.
  std::int64_t seen(std::int64_t i) const { return causal ? std::min(s, i + 1) : s; }
  /// The first of the queries' heads that read a head of the keys; heads are counted over the batch.
  std::int64_t first_head(std::int64_t head) const { return head / k * h + head % k * group(); }
  std::int64_t multiplications() const { return b * h * l * s * (d + e); }
};

/// The right factor of products: a matrix of whole vectors, either row-major, or in panels that hold the
/// columns of one part (RegisterPart) row by row, as the sums read them.
template<class T>
struct Factor {
  const T* data;
  std::int64_t rows, columns, pitch = 0;  ///< pitch: between rows; 0 for panels
};

/// Copies a matrix into panels, times `scale`. Element (i, j) is at from[i * down + j * along], where one of
/// the two is 1. Columns up to the end of the last vector are 0. `to` holds rows * padded(columns) elements.
template<class T>
Factor<T> pack(const T* from, std::int64_t rows, std::int64_t columns, std::int64_t down, std::int64_t along,
               T scale, T* to);

/// y = a b, or y += a b: element (i, k) of a is at a[i * apart + k * step]. Only columns up to `columns` of b
/// are needed; y's rows, `pitch` elements apart, are written in whole registers.
template<class T, class Step, class Apart>
void multiply(std::int64_t rows, const T* a, Step step, Apart apart, const Factor<T>& b, std::int64_t depth,
              std::int64_t columns, T* y, std::int64_t pitch, bool add) {
  constexpr std::int64_t run = 128;  // rows of a panel that fit the L1 cache
  const std::int64_t registers = ceil_div(b.columns, register_lanes<T>),
                     parts = simd::RegisterPart::fewest(registers);
  for (std::int64_t p = 0; p < parts; ++p) {
    const simd::RegisterPart part(registers, parts, p);
    const std::int64_t column = part.first * register_lanes<T>;
    if (column >= columns) break;
    const std::int64_t down = b.pitch ? b.pitch : part.count * register_lanes<T>;
    const T* const panel = b.data + column * (b.pitch ? 1 : b.rows);
    for (std::int64_t k = 0; k == 0 || k < depth; k += run)
      for (std::int64_t i = 0; i < rows; i += simd::sum_rows) {
        const T* const first = panel + k * down;
        simd::sum_products(static_cast<int>(std::min<std::int64_t>(simd::sum_rows, rows - i)), part.count,
                           simd::Terms{std::min(run, depth - k), a + i * apart + k * step, step, apart,
                                       [=](std::int64_t t) { return first + t * down; }, register_lanes<T>},
                           y + i * pitch + column, pitch, add || k > 0);
      }
  }
}

/// Which logits of a call are masked, and by what.
template<class T>
class Masks {
 public:
  Masks(const AttentionCall& c, const Sizes& z)
      : causal_(z.causal),
        h_(z.h),
        keep_(c.mask && c.mask.dtype() == DType::boolean ? c.mask.raw<bool>() : nullptr),
        add_(c.mask && !keep_ ? c.mask.raw<T>() : nullptr) {
    for (int i = 0; i < 4; ++i) strides_[i] = !c.mask || c.mask.shape()[i] == 1 ? 0 : c.mask.strides()[i];
  }
  /// Applies them to the logits of head `bh`, query i and n keys from number j on; logits up to the end of
  /// the last vector become -inf.
  void operator()(std::int64_t bh, std::int64_t i, std::int64_t j, std::int64_t n, T* x) const {
    constexpr T hidden = -std::numeric_limits<T>::infinity();
    const std::int64_t at = bh / h_ * strides_[0] + bh % h_ * strides_[1] + i * strides_[2] + j * strides_[3],
                       step = strides_[3];
    const auto apply = [=](const auto* mask, auto f) {
      if (!mask) return;
      if (step == 1)
        for (std::int64_t t = 0; t < n; ++t) x[t] = f(x[t], mask[at + t]);
      else
        for (std::int64_t t = 0; t < n; ++t) x[t] = f(x[t], mask[at + t * step]);
    };
    apply(keep_, [](T logit, bool keep) { return keep ? logit : hidden; });
    apply(add_, [](T logit, T more) { return logit + more; });
    const std::int64_t end = causal_ ? std::clamp<std::int64_t>(i + 1 - j, 0, n) : n;
    std::fill(x + end, x + padded<T>(n), hidden);
  }
  bool any() const { return keep_ || add_; }

 private:
  bool causal_;
  std::int64_t h_;
  const bool* keep_;
  const T* add_;
  std::int64_t strides_[4];
};

/// Which weights are dropped.
template<class T>
class Drop {
 public:
  Drop(const AttentionTerms& t, const Sizes& z)
      : philox_{t.state.seed, t.state.draws},
        chance_(t.dropout),
        scale_(static_cast<T>(1 / (1 - t.dropout))),
        l_(z.l),
        s_(z.s) {}
  /// For head `bh`, query i and n keys from number j on: 0 for a dropped weight, else 1 / (1 - p).
  void operator()(std::int64_t bh, std::int64_t i, std::int64_t j, std::int64_t n, T* factors) const {
    const std::int64_t first = (bh * l_ + i) * s_ + j, end = first + n;
    for (std::int64_t at = first / 4 * 4; at < end; at += 4) {
      const Philox::Block words = philox_(static_cast<std::uint64_t>(at) / 4);
      for (std::int64_t w = std::max(at, first); w < std::min(at + 4, end); ++w)
        factors[w - first] =
            chance_.happens(words.v[w - at], philox_, static_cast<std::uint64_t>(w)) ? T(0) : scale_;
    }
  }

 private:
  Philox philox_;
  Chance chance_;
  T scale_;
  std::int64_t l_, s_;
};
/// x times the factors; 0 where the factor is, even if x is NaN.
template<class T>
void drop(const T* factors, std::int64_t n, T* x) {
  for (std::int64_t t = 0; t < n; ++t) x[t] = factors[t] == 0 ? T(0) : x[t] * factors[t];
}

}  // namespace bobbin::attention
