// Softmax, log-softmax and their derivatives on the CPU, over blocks of contiguous rows. The result of a row
// does not depend on the block it is in.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "ops/check.h"
#include "ops/cpu/rows.h"
#include "ops/cpu/softmax_rows.h"
#include "ops/softmax/short_rows.h"
#include "ops/softmax/softmax.h"

namespace bobbin {
namespace rows {
namespace {

using simd::lanes;

// Writes f to n elements of y, step by step: f(i, k) gives elements [i, i + k). With `large`, it stores
// without using the caches.
template<class T, class F>
class Writer {
 public:
  Writer(T* y, std::int64_t n, bool large, F f) : y_(y), n_(n), large_(large), f_(f) {
    if (!large) return;
    next_ = std::min(n, static_cast<std::int64_t>(-reinterpret_cast<std::uintptr_t>(y) % 64 / sizeof(T)));
    if (next_ > 0) store<T>(f_(std::int64_t{0}, next_), y_, next_);
  }
  [[gnu::always_inline]] void step() {
    if (next_ + vectors_in_step * lanes < T >> n_) return;
#pragma GCC unroll 4
    for (std::int64_t k = 0; k < vectors_in_step; ++k) write_vector();
  }
  void finish() {
    while (next_ + lanes<T> <= n_) write_vector();
    if (next_ < n_) store<T>(f_(next_, n_ - next_), y_ + next_, n_ - next_);
  }

 private:
  [[gnu::always_inline]] void write_vector() {
    const Vector<T> v = f_(next_, lanes<T>);
    large_ ? simd::stream<T>(v, y_ + next_) : store<T>(v, y_ + next_);
    next_ += lanes<T>;
  }
  T* y_;
  std::int64_t n_, next_ = 0;
  bool large_;
  F f_;
};

// Computes the sum of o[i] g[i] and the largest o[i], step by step.
template<class T>
class Dot {
 public:
  Dot(const T* o, const T* g, std::int64_t n) : o_(o), g_(g), n_(n) {}
  [[gnu::always_inline]] void step() {
    if (next_ + vectors_in_step * lanes < T >> n_) return;
#pragma GCC unroll 4
    for (std::int64_t k = 0; k < vectors_in_step; ++k) take(lanes<T>);
    if (next_ % chunk == 0) end_chunk();
  }
  double finish() {
    while (next_ < n_) {
      take(std::min(lanes<T>, n_ - next_));
      if (next_ % chunk == 0) end_chunk();
    }
    end_chunk();
    return total_;
  }
  T most() const {
    return simd::reduce<T>(most_, [](const auto& p, const auto& q) { return p > q ? p : q; });
  }

 private:
  void take(std::int64_t k) {
    const Vector<T> o = load_n(o_ + next_, k);
    sum_ += o * load_n(g_ + next_, k);
    most_ = simd::max(o, most_);
    next_ += lanes<T>;
  }
  void end_chunk() {
    total_ += static_cast<double>(simd::reduce_sum<T>(sum_));
    sum_ = Vector<T>{};
  }
  const T *o_, *g_;
  std::int64_t n_, next_ = 0;
  Vector<T> sum_{}, most_{};
  double total_ = 0;
};

// y = exp(x - max) / sum(exp(x - max)). Three passes run step by step in turn, so that one computes while
// another waits for memory: the exponentials of a chunk, the maximum of the next chunk, and the division of
// the previous row by its sum.
template<class T>
void softmax(const RowBlock& block, std::int64_t n) {
  struct Scaled {
    const T* e;
    T scale;
    Vector<T> operator()(std::int64_t i, std::int64_t k) const {
      return load_n(e + i, k) * Vector<T>::all(scale);
    }
  };
  using Out = Writer<T, Scaled>;
  // The exponentials of two rows. A large output is written once, without using the caches, so the
  // exponentials cannot be kept in the output.
  const Storage buffer(block.large ? 2 * static_cast<std::size_t>(block.row_bytes) : 0, Device());
  const auto max_from = [&](std::int64_t r, std::int64_t c) {
    return Max<T>(block.input<T>(0, r) + c, r < block.count ? std::min(chunk, n - c) : 0);
  };
  Out previous(nullptr, 0, false, {});
  T chunk_max = max_from(0, 0).finish();
  for (std::int64_t r = 0; r < block.count; ++r) {
    const T* const x = block.input<T>(0, r);
    T* const y = block.output<T>(r);
    T* const e = block.large ? static_cast<T*>(buffer.data) + r % 2 * n : y;
    T reference = chunk_max;
    double total = 0;
    for (std::int64_t c = 0; c < n; c += chunk) {
      if (chunk_max >
          reference + max_excess) {  // at most once per row: the new reference is the row's maximum
        reference = max(x + c, n - c);
        total = exponentials(x, reference, e, c);
      }
      Max<T> next = c + chunk < n ? max_from(r, c + chunk) : max_from(r + 1, 0);
      total += exponentials(
          x + c, reference, e + c, std::min(chunk, n - c), [&]() __attribute__((always_inline)) {
            next.step();
            previous.step();
          });
      chunk_max = next.finish();
    }
    previous.finish();
    previous = Out(y, n, block.large, {e, static_cast<T>(1 / total)});
  }
  previous.finish();
  if (block.large) simd::end_streams();
}

// dx = o ((g - c) - rest), as dominated_row.h explains. The sum of a row and the output of the previous row
// are computed step by step in turn.
template<class T>
void softmax_backward(const RowBlock& block, std::int64_t n) {
  struct Difference {
    const T *o, *g;
    RowSums<T> sums;
    Vector<T> operator()(std::int64_t i, std::int64_t k) const {
      Vector<T> d = load_n(g + i, k);
      if (sums.c != 0) d = d - Vector<T>::all(sums.c);
      return load_n(o + i, k) * (d - Vector<T>::all(sums.rest));
    }
  };
  using Out = Writer<T, Difference>;
  Out previous(nullptr, 0, false, {});
  for (std::int64_t r = 0; r < block.count; ++r) {
    const T *const o = block.input<T>(0, r), *const g = block.input<T>(1, r);
    Dot<T> dot(o, g, n);
    for (std::int64_t i = 0; i < n; i += vectors_in_step * lanes<T>) {
      dot.step();
      previous.step();
    }
    previous.finish();
    const T sum = static_cast<T>(dot.finish());
    const RowSums<T> sums = is_dominant(dot.most()) ? dominated_sums(o, g, n) : RowSums<T>{0, sum};
    previous = Out(block.output<T>(r), n, block.large, {o, g, sums});
  }
  previous.finish();
  if (block.large) simd::end_streams();
}

// The sum of g, added as rows::sum adds, and the largest o.
template<class T>
std::pair<double, T> sum_and_max(const T* g, const T* o, std::int64_t n) {
  constexpr std::int64_t width = lanes<T>, partials = 16 / width;
  constexpr T none = -std::numeric_limits<T>::infinity();
  Vector<T> most = Vector<T>::all(none);
  double total = 0;
  for (std::int64_t c = 0; c < n; c += chunk) {
    const std::int64_t end = std::min(n, c + chunk);
    Vector<T> sum[partials] = {};
    for (std::int64_t i = c, j = 0; i < end; i += width, j = (j + 1) % partials) {
      const std::int64_t k = std::min(width, end - i);
      sum[j] += load_n(g + i, k);
      most = simd::max(load_n(o + i, k, none), most);
    }
    for (std::int64_t j = 1; j < partials; ++j) sum[0] += sum[j];
    total += static_cast<double>(simd::reduce_sum<T>(sum[0]));
  }
  return {total, simd::reduce<T>(most, [](const auto& p, const auto& q) { return p > q ? p : q; })};
}

// dx = g - exp(o) sum(g); where exp(o) dominates the row, as softmax.h says.
template<class T>
void log_softmax_backward(const T* o, const T* g, T* y, std::int64_t n) {
  const T log_dominant = static_cast<T>(std::log(dominant_probability));
  const auto [sum_g, most] = sum_and_max(g, o, n);
  const T total = static_cast<T>(sum_g);
  const std::int64_t m = most > log_dominant ? std::find(o, o + n, most) - o : n;
  T of_m = 0;
  if (m < n) {
    const double rest = sum<T>(n, [=](std::int64_t i) { return i == m ? T(0) : g[i]; }), log = most;
    of_m = static_cast<T>(-std::expm1(log) * static_cast<double>(g[m]) - std::exp(log) * rest);
  }
  for (std::int64_t i = 0; i < n; ++i) y[i] = g[i] - math::exp(o[i]) * total;
  if (m < n) y[m] = of_m;
}

// Calls f(Type<T>{}, block, length) for blocks of rows of `length` elements of the compute type T.
template<class F>
void each_block(Inputs x, const Tensor& y, int axis, F&& f) {
  const DType compute = compute_type(y.dtype());
  const std::int64_t n = y.rank() ? y.shape()[axis] : 1;
  visit_some<double, float>(compute, [&](auto type) {
    for_row_blocks(x, y, axis, compute, [&](const RowBlock& block) { f(type, block, n); });
  });
}

}  // namespace
}  // namespace rows

void Softmax::cpu(Inputs x, Tensor& y) const {
  rows::each_block(x, y, axis, []<class T>(Type<T>, const RowBlock& block, std::int64_t n) {
    n <= rows::max_short ? rows::softmax_short<T>(block, n) : rows::softmax<T>(block, n);
  });
}

void SoftmaxBackward::cpu(Inputs x, Tensor& y) const {
  rows::each_block(x, y, axis, []<class T>(Type<T>, const RowBlock& block, std::int64_t n) {
    n <= rows::max_short ? rows::softmax_backward_short<T>(block, n) : rows::softmax_backward<T>(block, n);
  });
}

void LogSoftmax::cpu(Inputs x, Tensor& y) const {
  rows::each_block(x, y, axis, []<class T>(Type<T>, const RowBlock& block, std::int64_t n) {
    for (std::int64_t r = 0; r < block.count; ++r) {
      const T* const x = block.input<T>(0, r);
      T* const y = block.output<T>(r);
      const auto [max, log_rest] = rows::log_sum(x, y, n);
      const double m = static_cast<double>(max), l = log_rest;
      for (std::int64_t i = 0; i < n; ++i) y[i] = static_cast<T>(static_cast<double>(x[i]) - m - l);
    }
  });
}

void LogSoftmaxBackward::cpu(Inputs x, Tensor& y) const {
  rows::each_block(x, y, axis, []<class T>(Type<T>, const RowBlock& block, std::int64_t n) {
    for (std::int64_t r = 0; r < block.count; ++r)
      rows::log_softmax_backward(block.input<T>(0, r), block.input<T>(1, r), block.output<T>(r), n);
  });
}

}  // namespace bobbin
