// Attention on the CPU, forward: blocks of queries with chunks of keys, whose logits stay in the L2 cache.
// The softmax runs along with the chunks (Milakov and Gimelshein, "Online normalizer calculation for
// softmax", arXiv:1805.02867; Dao et al., "FlashAttention", arXiv:2205.14135).
#include <bobbin/parallel.h>

#include "ops/attention/cpu_blocks.h"
#include "ops/check.h"
#include "ops/cpu/gemm.h"

namespace bobbin {
namespace attention {
namespace {

constexpr std::int64_t chunk = 512;  // keys

// Keys, transposed and scaled, and values of all heads, chunk by chunk, in panels.
template<class T>
class Packed {
 public:
  Packed(const AttentionCall& c, const Sizes& z)
      : z_(z),
        keys_(c.key.raw<T>()),
        values_(c.value.raw<T>()),
        scale_(static_cast<T>(c.terms.scale)),
        chunk_size_(padded<T>(std::min(chunk, z.s)) * z.d + std::min(chunk, z.s) * padded<T>(z.e)),
        memory_(static_cast<std::size_t>(z.b * z.k * chunks() * chunk_size_) * sizeof(T), Device()) {
    share_tiles(z.b * z.k * chunks(), z.b * z.k * z.s * (z.d + z.e), [&](std::int64_t tile) {
      const std::int64_t first = tile / chunks() * z.s + tile % chunks() * chunk, n = size(tile % chunks());
      T* const to = at(tile);
      pack<T>(keys_ + first * z.d, z.d, n, 1, z.d, scale_, to);
      pack<T>(values_ + first * z.e, n, z.e, z.e, 1, T(1), to + padded<T>(n) * z.d);
    });
  }
  std::int64_t chunks() const { return ceil_div(z_.s, chunk); }
  Factor<T> keys(std::int64_t head, std::int64_t c) const {
    return {at(head * chunks() + c), z_.d, padded<T>(size(c))};
  }
  Factor<T> values(std::int64_t head, std::int64_t c) const {
    return {at(head * chunks() + c) + padded<T>(size(c)) * z_.d, size(c), padded<T>(z_.e)};
  }

 private:
  std::int64_t size(std::int64_t c) const { return std::min(chunk, z_.s - c * chunk); }
  T* at(std::int64_t tile) const { return static_cast<T*>(memory_.data) + tile * chunk_size_; }
  Sizes z_;
  const T *keys_, *values_;
  T scale_;
  std::int64_t chunk_size_;
  Storage memory_;
};

// The softmax of a row, chunk by chunk: exponentials are taken relative to `reference`, which may be less
// than the largest logit by rows::max_excess.
template<class T>
struct RunningRow {
  T reference = -std::numeric_limits<T>::infinity();
  double sum = 0;

  struct Shares {
    double before, now;  ///< what the rows before and this chunk's count for in the sum
  };
  // Turns n logits into their softmax within the chunk.
  Shares take(T* x, std::int64_t n) {
    constexpr T none = -std::numeric_limits<T>::infinity();
    const T most = rows::max(x, n);
    double before = 1;
    if (most > reference + rows::max_excess || reference == none) {
      if (sum > 0) before = at(reference, most) / at(reference, reference);
      sum *= before;
      reference = most;
    }
    double total = 0;
    if (reference == none && std::all_of(x, x + n, [](T v) { return v == none; }))
      std::fill(x, x + n, T(0));
    else
      total = rows::exponentials(x, reference, x, n);
    const T scale = total == 0 ? T(0) : static_cast<T>(1 / total);
    for (std::int64_t t = 0; t < n; ++t) x[t] *= scale;
    sum += total;
    return {before, total};
  }

 private:
  // The exponential of x relative to m.
  static double at(T x, T m) {
    T y;
    return rows::exponentials(&x, m, &y, 1);
  }
};

template<class T>
class Forward {
 public:
  explicit Forward(const AttentionCall& c)
      : call_(c), z_(c), packed_(c, z_), masks_(c, z_), drop_(c.terms, z_) {}
  void run() const {
    share_tiles(z_.b * z_.h * z_.blocks(), z_.multiplications(),
                [&](std::int64_t tile) { block(tile / z_.blocks(), tile % z_.blocks() * z_.queries); });
  }

 private:
  static constexpr std::int64_t pitch = chunk + lanes<T>;  // a power of two would map rows to one cache set

  // Queries of head `bh` from number `first` on.
  void block(std::int64_t bh, std::int64_t first) const {
    const std::int64_t rows = std::min(z_.queries, z_.l - first), wide = padded<T>(z_.e),
                       seen = z_.seen(first + rows - 1), chunks = ceil_div(seen, chunk),
                       head = z_.key_head(bh);
    const Storage memory(static_cast<std::size_t>(rows * (pitch + wide) + chunk) * sizeof(T), Device()),
        totals_memory(chunks > 1 ? static_cast<std::size_t>(rows * z_.e) * sizeof(double) : 0, Device());
    T *const x = static_cast<T*>(memory.data), *const part = x + rows * pitch,
             *const kept = part + rows * wide;
    double* const totals = static_cast<double*>(totals_memory.data);
    RunningRow<T> running[most_queries];
    const T* const query = call_.query.raw<T>() + (bh * z_.l + first) * z_.d;
    if (chunks == 0) std::fill(part, part + rows * wide, T(0));
    for (std::int64_t c = 0; c < chunks; ++c) {
      const std::int64_t from = c * chunk, n = std::min(chunk, seen - from);
      multiply(rows, query, simd::Constant<1>(), z_.d, packed_.keys(head, c), z_.d, n, x, pitch, false);
      typename RunningRow<T>::Shares shares[most_queries];
      for (std::int64_t r = 0; r < rows; ++r) {
        T* const row = x + r * pitch;
        masks_(bh, first + r, from, n, row);
        shares[r] = running[r].take(row, n);
        if (call_.terms.dropout == 0) continue;
        drop_(bh, first + r, from, n, kept);
        drop(kept, n, row);
      }
      multiply(rows, x, simd::Constant<1>(), pitch, packed_.values(head, c), n, z_.e, part, wide, false);
      if (chunks == 1) break;
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t j = 0; j < z_.e; ++j) {
          double& total = totals[r * z_.e + j];
          const double more = shares[r].now * static_cast<double>(part[r * wide + j]);
          total = c == 0 ? more : total * shares[r].before + more;
        }
    }
    T* const out = call_.output.raw<T>() + (bh * z_.l + first) * z_.e;
    for (std::int64_t r = 0; r < rows; ++r) {
      // A row that sees nothing has the sum 0. Without a mask, its softmax is NaN.
      const double sum = running[r].sum, inverse = sum != 0                      ? 1 / sum
                                                   : masks_.any() || chunks == 0 ? 0
                                                                                 : std::nan("");
      T* const to = out + r * z_.e;
      for (std::int64_t j = 0; j < z_.e; ++j)
        to[j] = chunks > 1 ? static_cast<T>(totals[r * z_.e + j] * inverse) : part[r * wide + j];
      if (std::isnan(inverse)) std::fill(to, to + z_.e, static_cast<T>(inverse));
      if (!call_.statistics) continue;
      T* const statistics = call_.statistics.raw<T>() + bh * z_.l + first + r;
      statistics[0] = running[r].reference;
      statistics[z_.b * z_.h * z_.l] = static_cast<T>(inverse);
    }
  }

  const AttentionCall& call_;
  const Sizes z_;
  const Packed<T> packed_;
  const Masks<T> masks_;
  const Drop<T> drop_;
};

}  // namespace
}  // namespace attention

void cpu_attention(const AttentionCall& call) {
  if (call.output.numel() == 0) return;
  visit_some<double, float>(call.query.dtype(), [&]<class T>(Type<T>) { attention::Forward<T>(call).run(); });
}

}  // namespace bobbin
