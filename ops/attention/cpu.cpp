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
// A task takes all queries of a head that costs at most this many multiplications.
constexpr std::int64_t small_head = 1 << 21;

// Keys, transposed and scaled, and values of `count` heads from number `first` on, chunk by chunk, in panels.
template<class T>
class Packed {
 public:
  Packed(const AttentionCall& c, const Sizes& z, std::int64_t first, std::int64_t count)
      : z_(z),
        first_(first),
        keys_(c.key.raw<T>()),
        values_(c.value.raw<T>()),
        scale_(static_cast<T>(c.terms.scale)),
        chunk_size_(padded<T>(std::min(chunk, z.s)) * z.d + std::min(chunk, z.s) * padded<T>(z.e)),
        memory_(static_cast<std::size_t>(count * chunks() * chunk_size_) * sizeof(T), Device()) {
    share_tiles(count * chunks(), count * z.s * (z.d + z.e), [&](std::int64_t tile) {
      const std::int64_t head = first + tile / chunks(), c = tile % chunks(), row = head * z.s + c * chunk;
      T* const to = at(head, c);
      pack<T>(keys_ + row * z.d, z.d, size(c), 1, z.d, scale_, to);
      pack<T>(values_ + row * z.e, size(c), z.e, z.e, 1, T(1), to + padded<T>(size(c)) * z.d);
    });
  }
  std::int64_t chunks() const { return ceil_div(z_.s, chunk); }
  Factor<T> keys(std::int64_t head, std::int64_t c) const { return {at(head, c), z_.d, padded<T>(size(c))}; }
  Factor<T> values(std::int64_t head, std::int64_t c) const {
    return {at(head, c) + padded<T>(size(c)) * z_.d, size(c), padded<T>(z_.e)};
  }

 private:
  std::int64_t size(std::int64_t c) const { return std::min(chunk, z_.s - c * chunk); }
  T* at(std::int64_t head, std::int64_t c) const {
    return static_cast<T*>(memory_.data) + ((head - first_) * chunks() + c) * chunk_size_;
  }
  Sizes z_;
  std::int64_t first_;
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
  explicit Forward(const AttentionCall& c) : call_(c) {}
  void run() const {
    const std::int64_t heads = z_.b * z_.k, blocks = z_.group() * z_.blocks(), work = z_.multiplications();
    if (work <= heads * small_head)
      return share_tiles(heads, work, [&](std::int64_t head) {
        const Packed<T> packed(call_, z_, head, 1);
        const Scratch scratch(z_);
        for (std::int64_t i = 0; i < blocks; ++i) block(packed, scratch, head, i);
      });
    const Packed<T> packed(call_, z_, 0, heads);
    share_tiles(heads * blocks, work,
                [&](std::int64_t tile) { block(packed, Scratch(z_), tile / blocks, tile % blocks); });
  }

 private:
  static constexpr std::int64_t pitch = chunk + lanes<T>;  // a power of two would map rows to one cache set

  // The memory of a block: its logits and weights, results of a chunk and of all, and a row's factors of
  // dropout.
  struct Scratch {
    explicit Scratch(const Sizes& z)
        : memory(static_cast<std::size_t>(z.queries * (pitch + padded<T>(z.e)) + chunk) * sizeof(T) +
                     static_cast<std::size_t>(z.s > chunk ? z.queries * z.e : 0) * sizeof(double),
                 Device()),
          x(static_cast<T*>(memory.data)),
          part(x + z.queries * pitch),
          kept(part + z.queries * padded<T>(z.e)),
          totals(reinterpret_cast<double*>(kept + chunk)) {}
    const Storage memory;
    T *const x, *const part, *const kept;
    double* const totals;
  };

  // Block i of the queries that read key head `head`.
  void block(const Packed<T>& packed, const Scratch& scratch, std::int64_t head, std::int64_t i) const {
    const std::int64_t bh = z_.first_head(head) + i / z_.blocks(), first = i % z_.blocks() * z_.queries;
    const std::int64_t rows = std::min(z_.queries, z_.l - first), wide = padded<T>(z_.e),
                       seen = z_.seen(first + rows - 1), chunks = ceil_div(seen, chunk);
    T *const x = scratch.x, *const part = scratch.part, *const kept = scratch.kept;
    double* const totals = scratch.totals;
    RunningRow<T> running[most_queries];
    const T* const query = call_.query.raw<T>() + (bh * z_.l + first) * z_.d;
    if (chunks == 0) std::fill(part, part + rows * wide, T(0));
    for (std::int64_t c = 0; c < chunks; ++c) {
      const std::int64_t from = c * chunk, n = std::min(chunk, seen - from);
      multiply(rows, query, simd::Constant<1>(), z_.d, packed.keys(head, c), z_.d, n, x, pitch, false);
      typename RunningRow<T>::Shares shares[most_queries];
      for (std::int64_t r = 0; r < rows; ++r) {
        T* const row = x + r * pitch;
        masks_(bh, first + r, from, n, row);
        shares[r] = running[r].take(row, n);
        if (call_.terms.dropout == 0) continue;
        drop_(bh, first + r, from, n, kept);
        drop(kept, n, row);
      }
      multiply(rows, x, simd::Constant<1>(), pitch, packed.values(head, c), n, z_.e, part, wide, false);
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
  const Sizes z_{call_};
  const Masks<T> masks_{call_, z_};
  const Drop<T> drop_{call_.terms, z_};
};

}  // namespace
}  // namespace attention

void cpu_attention(const AttentionCall& call) {
  if (call.output.numel() == 0) return;
  visit_some<double, float>(call.query.dtype(), [&]<class T>(Type<T>) { attention::Forward<T>(call).run(); });
}

}  // namespace bobbin
