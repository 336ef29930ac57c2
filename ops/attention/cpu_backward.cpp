// Attention's first derivative on the CPU. A task owns blocks of keys and computes their weights again for
// all queries; the gradient of the queries is added up over a fixed number of tasks (Dao et al.,
// "FlashAttention", arXiv:2205.14135).
#include <bobbin/parallel.h>

#include <type_traits>
#include <utility>
#include <vector>

#include "ops/attention/cpu_blocks.h"
#include "ops/check.h"
#include "ops/cpu/gemm.h"
#include "ops/softmax/softmax.h"

namespace bobbin {
namespace attention {
namespace {

using simd::Vector, simd::load, simd::store;

constexpr std::int64_t key_block = 128;
// Sums over more queries than this are added up in f64.
constexpr std::int64_t long_sum = 2048;

// With weights P, cotangent G of the output O, dP = G V^T and D = the sum of G O over a row, the gradient of
// the logits is P (dP - D). Where one weight dominates its row, that is a difference of nearly equal numbers;
// the gradient there is minus the sum of the row's others (see SoftmaxBackward), which is added at the end.
template<class T>
class Backward {
 public:
  explicit Backward(const AttentionCall& c)
      : call_(c),
        z_(c),
        masks_(c, z_),
        drop_(c.terms, z_),
        parts_(std::min({ceil_div(std::int64_t{32}, std::max<std::int64_t>(1, z_.b * z_.k)), std::int64_t{16},
                         ceil_div(z_.s, key_block)})),
        wide_d_(padded<T>(z_.d)),
        wide_e_(padded<T>(z_.e)),
        query_(whole_vectors(c.query)),
        grad_(whole_vectors(c.grad)),
        query_sums_(parts_ == 1 && wide_d_ == z_.d
                        ? c.query_grad
                        : empty({parts_, z_.b, z_.h, z_.l, wide_d_}, c.query.dtype())),
        rests_(static_cast<std::size_t>(parts_ * rows())),
        dominant_(static_cast<std::size_t>(rows()), -1),
        along_output_(static_cast<std::size_t>(rows())) {}

  void run() {
    const std::int64_t heads = z_.b * z_.k, work = 3 * z_.multiplications();
    if (parts_ == 1)
      return share_tiles(heads, work, [&](std::int64_t head) {
        sum_along_output(head);
        part(head, 0);
        finish(head);
      });
    share_tiles(heads, 2 * rows() * z_.e, [&](std::int64_t head) { sum_along_output(head); });
    share_tiles(heads * parts_, work, [&](std::int64_t t) { part(t / parts_, t % parts_); });
    share_tiles(heads, work, [&](std::int64_t head) { finish(head); });
  }

 private:
  static constexpr std::int64_t pitch = key_block + lanes<T>;

  std::int64_t rows() const { return z_.b * z_.h * z_.l; }
  // x, or a copy whose rows are filled up with zeros to whole vectors.
  static Tensor whole_vectors(const Tensor& x) {
    const std::int64_t n = x.size(3), wide = padded<T>(n);
    if (wide == n) return x;
    Tensor y = empty({x.size(0), x.size(1), x.size(2), wide}, x.dtype());
    const T* from = x.raw<T>();
    T* to = y.raw<T>();
    for (std::int64_t r = 0; r < x.size(0) * x.size(1) * x.size(2); ++r, from += n, to += wide)
      std::fill(std::copy_n(from, n, to), to + wide, T(0));
    return y;
  }

  void sum_along_output(std::int64_t head) {
    const std::int64_t first = z_.first_head(head) * z_.l;
    for (std::int64_t r = first; r < first + z_.group() * z_.l; ++r) {
      const T *const g = call_.grad.raw<T>() + r * z_.e, *const o = call_.output.raw<T>() + r * z_.e;
      along_output_[static_cast<std::size_t>(r)] =
          static_cast<T>(rows::sum<T>(z_.e, [=](std::int64_t j) { return g[j] * o[j]; }));
    }
  }

  // Blocks `part`, part + parts, ... of the keys of a head.
  void part(std::int64_t head, std::int64_t part) {
    const std::int64_t first = part * rows() + z_.first_head(head) * z_.l, count = z_.group() * z_.l;
    T* const sums = query_sums_.raw<T>();
    std::fill(sums + first * wide_d_, sums + (first + count) * wide_d_, T(0));
    for (std::int64_t j = part * key_block; j < z_.s; j += parts_ * key_block)
      keys(head, part, j, std::min(key_block, z_.s - j));
  }

  // A block's factors and sums.
  struct Block {
    std::int64_t j, n;  // the first key, and the number of those that a block of queries sees
    Factor<T> key_columns{}, value_columns{}, key_rows{};
    T *weights = nullptr, *logits = nullptr;  // of z_.queries rows
    T* kept = nullptr;                        // of one row
    T *key_sums = nullptr, *value_sums = nullptr;
  };

  void keys(std::int64_t head, std::int64_t part, std::int64_t j, std::int64_t n) {
    const std::int64_t wide = padded<T>(n), d = wide_d_, e = wide_e_;
    const Storage memory(static_cast<std::size_t>(wide * (z_.d + z_.e) + n * d + 2 * z_.queries * pitch +
                                                  key_block + n * (d + e)) *
                             sizeof(T),
                         Device());
    T* at = static_cast<T*>(memory.data);
    const auto take = [&](std::int64_t count) { return std::exchange(at, at + count); };
    const T *const key = call_.key.raw<T>() + (head * z_.s + j) * z_.d, *const value =
                                                                            call_.value.raw<T>() +
                                                                            (head * z_.s + j) * z_.e;
    const auto scale = static_cast<T>(call_.terms.scale);
    Block b{j, n};
    b.weights = take(z_.queries * pitch), b.logits = take(z_.queries * pitch), b.kept = take(key_block);
    b.key_sums = take(n * d), b.value_sums = take(n * e);
    b.key_columns = pack<T>(key, z_.d, n, 1, z_.d, scale, take(wide * z_.d));
    b.value_columns = pack<T>(value, z_.e, n, 1, z_.e, T(1), take(wide * z_.e));
    b.key_rows = pack<T>(key, n, z_.d, z_.d, 1, T(1), take(n * d));
    const std::int64_t queries = z_.group() * z_.blocks();
    const bool is_long = queries * z_.queries > long_sum;
    std::vector<double> totals(is_long ? static_cast<std::size_t>(n * (d + e)) : 0);
    std::fill(b.key_sums, b.key_sums + n * (d + e), T(0));
    for (std::int64_t q = 0; q < queries; ++q) {
      const std::int64_t bh = z_.first_head(head) + q / z_.blocks(), i = q % z_.blocks() * z_.queries;
      const std::int64_t rows = std::min(z_.queries, z_.l - i);
      b.n = std::min(n, z_.seen(i + rows - 1) - j);
      if (b.n > 0) block(b, part, bh, i, rows);
      if (is_long && ((q + 1) % (long_sum / z_.queries) == 0 || q + 1 == queries))
        for (std::size_t t = 0; t < totals.size(); ++t)
          totals[t] += static_cast<double>(std::exchange(b.key_sums[t], T(0)));
    }
    for (std::size_t t = 0; t < totals.size(); ++t) b.key_sums[t] = static_cast<T>(totals[t]);
    T *const key_grad = call_.key_grad.raw<T>() + (head * z_.s + j) * z_.d, *const value_grad =
                                                                                call_.value_grad.raw<T>() +
                                                                                (head * z_.s + j) * z_.e;
    for (std::int64_t t = 0; t < n; ++t) {
      std::copy_n(b.key_sums + t * d, z_.d, key_grad + t * z_.d);
      std::copy_n(b.value_sums + t * e, z_.e, value_grad + t * z_.e);
    }
  }

  // The terms of queries [i, i + rows) of head `bh` and the keys of b.
  void block(const Block& b, std::int64_t part, std::int64_t bh, std::int64_t i, std::int64_t rows) {
    constexpr simd::Constant<1> one;
    const std::int64_t first = bh * z_.l + i;
    const Factor<T> query{query_.raw<T>() + first * wide_d_, rows, wide_d_, wide_d_},
        grad{grad_.raw<T>() + first * wide_e_, rows, wide_e_, wide_e_};
    multiply(rows, query.data, one, wide_d_, b.key_columns, z_.d, b.n, b.weights, pitch, false);
    multiply(rows, grad.data, one, wide_e_, b.value_columns, z_.e, b.n, b.logits, pitch, false);
    for (std::int64_t r = 0; r < rows; ++r) {
      T *const p = b.weights + r * pitch, *const g = b.logits + r * pitch;
      masks_(bh, i + r, b.j, b.n, p);
      weights(first + r, b.n, p);
      if (call_.terms.dropout > 0) {
        drop_(bh, i + r, b.j, b.n, b.kept);
        drop(b.kept, b.n, g);
      }
      logits_grad(part, first + r, b, p, g);
      if (call_.terms.dropout > 0) drop(b.kept, b.n, p);
    }
    multiply(b.n, b.weights, pitch, one, grad, rows, wide_e_, b.value_sums, wide_e_, true);
    multiply(b.n, b.logits, pitch, one, query, rows, wide_d_, b.key_sums, wide_d_, true);
    multiply(rows, b.logits, one, pitch, b.key_rows, b.n, wide_d_,
             query_sums_.raw<T>() + (part * this->rows() + first) * wide_d_, wide_d_, true);
  }

  // The weights from the logits of a row.
  void weights(std::int64_t row, std::int64_t n, T* x) const {
    const T* const statistics = call_.statistics.raw<T>() + row;
    const T inverse = statistics[rows()];
    if (inverse == 0) return void(std::fill(x, x + padded<T>(n), T(0)));  // it sees nothing
    const auto scale = Vector<T>::all(inverse);
    simd::with_exponential(
        *statistics, [&](auto exponential) __attribute__((always_inline)) {
          for (std::int64_t t = 0; t < n; t += lanes<T>) store<T>(exponential(load(x + t)) * scale, x + t);
        });
  }

  // The gradient of a row's logits, times the scale, from its weights p and their gradients g, in place of g.
  void logits_grad(std::int64_t part, std::int64_t row, const Block& b, const T* p, T* g) {
    const auto along = Vector<T>::all(along_output_[static_cast<std::size_t>(row)]),
               scale = Vector<T>::all(static_cast<T>(call_.terms.scale));
    constexpr T limit = static_cast<T>(dominant_probability);
    Vector<T> sum{}, most{};
    for (std::int64_t t = 0; t < b.n; t += lanes<T>) {
      const Vector<T> weight = load(p + t);
      const Vector<T> of_logits = Vector<T>::map(
          [](const auto& x, const auto& w) { return w > limit ? std::remove_cvref_t<decltype(x)>{} : x; },
          weight * (load(g + t) - along) * scale, weight);
      sum += of_logits;
      most = simd::max(weight, most);
      store<T>(of_logits, g + t);
    }
    rests_[static_cast<std::size_t>(part * rows() + row)] += static_cast<double>(simd::reduce_sum<T>(sum));
    if (simd::reduce<T>(most, [](const auto& x, const auto& y) { return x > y ? x : y; }) > limit)
      dominant_[static_cast<std::size_t>(row)] =
          b.j + (std::find_if(p, p + b.n, [](T w) { return w > limit; }) - p);
  }

  // Adds up the parts of the queries' gradient, and the terms of dominant weights.
  void finish(std::int64_t head) {
    const std::int64_t d = z_.d, first = z_.first_head(head) * z_.l;
    const bool in_place = query_sums_.raw<T>() == call_.query_grad.raw<T>();
    for (std::int64_t row = first; row < first + z_.group() * z_.l; ++row) {
      T* const to = call_.query_grad.raw<T>() + row * d;
      if (!in_place) std::fill(to, to + d, T(0));
      for (std::int64_t part = 0; !in_place && part < parts_; ++part) {
        const T* const sums = query_sums_.raw<T>() + (part * rows() + row) * wide_d_;
        for (std::int64_t t = 0; t < d; ++t) to[t] += sums[t];
      }
      const std::int64_t j = dominant_[static_cast<std::size_t>(row)];
      if (j < 0) continue;
      double rest = 0;
      for (std::int64_t part = 0; part < parts_; ++part)
        rest += rests_[static_cast<std::size_t>(part * rows() + row)];
      const T weight = static_cast<T>(-rest);
      const std::int64_t key = (head * z_.s + j) * d;
      for (std::int64_t t = 0; t < d; ++t) {
        to[t] += weight * call_.key.raw<T>()[key + t];
        call_.key_grad.raw<T>()[key + t] += weight * call_.query.raw<T>()[row * d + t];
      }
    }
  }

  const AttentionCall& call_;
  const Sizes z_;
  const Masks<T> masks_;
  const Drop<T> drop_;
  const std::int64_t parts_, wide_d_, wide_e_;
  const Tensor query_, grad_;           // rows of whole vectors
  const Tensor query_sums_;             // of each part: [parts, b, h, l, wide_d_]
  std::vector<double> rests_;           // the sums of the gradients of each row's logits, by part
  std::vector<std::int64_t> dominant_;  // the key whose weight dominates the row, or -1
  std::vector<T> along_output_;         // D
};

}  // namespace
}  // namespace attention

void cpu_attention_backward(const AttentionCall& call) {
  visit_some<double, float>(call.query.dtype(),
                            [&]<class T>(Type<T>) { attention::Backward<T>(call).run(); });
}

}  // namespace bobbin
