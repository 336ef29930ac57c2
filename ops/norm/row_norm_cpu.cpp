// Layer norm, RMS norm and group norm on the CPU: a row is read from memory once and then from the cache.
#include <bobbin/parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/ceil_div.h"
#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/cpu/rows.h"
#include "ops/cpu/vectors.h"
#include "ops/norm/cpu_statistics.h"
#include "ops/norm/row_norm.h"
#include "ops/norm/row_statistics.h"

namespace bobbin {
namespace {

using simd::lanes, simd::load_n, simd::Vector;

// t with one element per element of a row, [groups, length], in the compute type; undefined stays undefined.
Tensor widened(const Tensor& t, const RowNormLayout& l, DType type) {
  if (!t || l.repeat == 1) return row_major(t, type);
  const Shape shape{t.numel(), l.repeat};
  const Tensor repeated = empty(shape, type), column = row_major(t, type);
  copy_elements(column.alias(shape, {1, 0}, column.offset()), repeated);
  return repeated;
}

Tensor as_rows(const Tensor& t, const RowNormCall& c) {
  return t.alias({c.rows(), c.layout.length}, {c.layout.length, 1}, t.offset());
}

// Writes f(i, k), a vector of elements [i, i + k), to y for all of a row; without using the caches if
// `large`.
template<class T, class F>
void write_row(T* y, std::int64_t n, bool large, F&& f) {
  std::int64_t i = 0;
  if (large && reinterpret_cast<std::uintptr_t>(y) % 64 == 0)
    for (; i + lanes<T> <= n; i += lanes<T>) simd::stream<T>(f(i, lanes<T>), y + i);
  for (; i + lanes<T> <= n; i += lanes<T>) simd::store<T>(f(i, lanes<T>), y + i);
  if (i < n) simd::store<T>(f(i, n - i), y + i, n - i);
}

template<class T>
void forward(const RowNormCall& c) {
  constexpr DType type = dtype_of<T>();
  const std::int64_t n = c.layout.length;
  const double share = 1 / static_cast<double>(n);
  const Tensor weight = widened(c.weight, c.layout, type), bias = widened(c.bias, c.layout, type);
  auto* const kept = c.statistics.raw<RowStatistics<T>>();
  const Tensor in[] = {as_rows(c.x, c)};
  for_row_blocks(in, as_rows(c.y, c), 1, type, [&](const RowBlock& block) {
    for (std::int64_t r = 0; r < block.count; ++r) {
      const T* const x = block.input<T>(0, r);
      const RowStatistics<T> s = statistics_of(x, n, share, c.centred, c.eps);
      const std::int64_t row = block.first + r;
      if (kept) kept[row] = s;
      const T* const w = weight ? weight.raw<T>() + row % c.layout.groups * n : nullptr;
      const T* const b = bias ? bias.raw<T>() + row % c.layout.groups * n : nullptr;
      if (n < lanes<T>) {
        T* const y = block.output<T>(r);
        for (std::int64_t i = 0; i < n; ++i) {
          const T v = s.normal(x[i]);
          y[i] = w ? v * w[i] : v;
        }
        for (std::int64_t i = 0; b && i < n; ++i) y[i] += b[i];
        continue;
      }
      const Normal<T> normal(s);
      write_row(block.output<T>(r), n, block.large, [=](std::int64_t i, std::int64_t k) {
        Vector<T> v = normal(load_n(x + i, k));
        if (w) v = v * load_n(w + i, k);
        return b ? v + load_n(b + i, k) : v;
      });
    }
    if (block.large) simd::end_streams();
  });
}

constexpr std::int64_t large_bytes = std::int64_t{8} << 20;  // of a tensor that no cache holds

// Rows for which one task adds the gradients of weight and bias: a function of the shape alone.
std::int64_t rows_per_tile(std::int64_t rows, std::int64_t n) {
  const std::int64_t least = ceil_div(1 << 14, n);  // below that, a task is not worth its start
  return std::clamp<std::int64_t>(ceil_div(rows, 64), std::min<std::int64_t>(least, 512), 512);
}

// Adds the sums of the tiles, [tiles, 2, n], in their order.
template<class T>
void add_tiles(const Tensor& sums, std::int64_t tiles, std::int64_t n, int which, const Tensor& to) {
  if (!to) return;
  const Tensor wide = to.dtype() == sums.dtype() ? to : empty(to.shape(), sums.dtype());
  constexpr std::int64_t width = 1024;
  parallel_for(ceil_div(n, width), [&](std::int64_t block) {
    const std::int64_t first = block * width, count = std::min(width, n - first);
    std::array<double, width> total{};
    for (std::int64_t t = 0; t < tiles; ++t) {
      const T* const from = sums.raw<T>() + (2 * t + which) * n + first;
      for (std::int64_t j = 0; j < count; ++j)
        total[static_cast<std::size_t>(j)] += static_cast<double>(from[j]);
    }
    for (std::int64_t j = 0; j < count; ++j)
      wide.raw<T>()[first + j] = static_cast<T>(total[static_cast<std::size_t>(j)]);
  });
  if (wide.dtype() != to.dtype()) copy_elements(wide, to);
}

// Terms times a power of two of about 1 / n, so that their sum is no larger than the largest of them: that
// power, and what makes the sum a mean.
template<class T>
struct Mean {
  Vector<T> part;
  double share;
  explicit Mean(std::int64_t n) {
    const int exponent = n > 1 ? std::ilogb(static_cast<double>(n - 1)) + 1 : 0;
    part = Vector<T>::all(static_cast<T>(std::ldexp(1.0, -exponent)));
    share = std::ldexp(1.0, exponent) / static_cast<double>(n);
  }
};

// The gradient of x of one row. It also adds the row's terms to the sums for weight and bias, if there are
// any.
template<class T>
void backward_row(const RowStatistics<T>& s, bool centred, const Mean<T>& m, std::int64_t n, const T* x,
                  const T* g, const T* w, T* x_grad, bool large, T* weight_sum, T* bias_sum) {
  const Normal<T> normal(s);
  const auto weighted = [=](std::int64_t i, std::int64_t k) {
    const Vector<T> v = load_n(g + i, k);
    return w ? v * load_n(w + i, k) : v;
  };
  const auto [sum, along] = sums_of<2, T>(n, [&](std::int64_t i, std::int64_t k, auto& sums) {
    const Vector<T> v = load_n(g + i, k), z = normal(load_n(x + i, k, x[0])),
                    h = weighted(i, k) * m.part;  // x[0]: past the end of the row, z is finite too
    sums[0] += h;
    sums[1] += h * z;
    if (!weight_sum) return;
    const auto add = [=](T* to, const Vector<T>& term) {
      const Vector<T> now = load_n(to + i, k) + term;
      k == lanes<T> ? simd::store<T>(now, to + i) : simd::store<T>(now, to + i, k);
    };
    add(weight_sum, v * z);
    add(bias_sum, v);
  });
  if (!x_grad) return;
  const Vector<T> mean = Vector<T>::all(centred ? static_cast<T>(sum * m.share) : T(0)),
                  slope = Vector<T>::all(static_cast<T>(along * m.share)), unit = Vector<T>::all(s.unit);
  write_row(x_grad, n, large, [&](std::int64_t i, std::int64_t k) {
    return ((weighted(i, k) - mean) - normal(load_n(x + i, k)) * slope) * normal.inverse * unit;
  });
}

// A few rows of the operands in the compute type: in the tensors, or converted.
template<class T>
class WideRows {
 public:
  WideRows(const RowNormCall& c, std::int64_t most)
      : c_(c), n_(c.layout.length), narrow_(c.x.dtype() != dtype_of<T>()) {
    if (narrow_) buffer_.resize(static_cast<std::size_t>(3 * most * n_));
    for (std::size_t k = 0; k < 3; ++k)
      rows_[k] = narrow_ ? buffer_.data() + static_cast<std::int64_t>(k) * most * n_ : nullptr;
  }
  void load(std::int64_t first, std::int64_t count) {
    const Tensor* const of[] = {&c_.x, &c_.g, &c_.x_grad};
    for (std::size_t k = 0; k < 3; ++k) {
      if (!narrow_)
        rows_[k] = *of[k] ? of[k]->template raw<T>() + first * n_ : nullptr;
      else if (k < 2)
        convert(of[k]->dtype(), at(*of[k], first), 1, dtype_of<T>(), rows_[k], count * n_);
    }
  }
  void store(std::int64_t first, std::int64_t count) const {
    if (narrow_ && c_.x_grad)
      convert(dtype_of<T>(), rows_[2], 1, c_.x_grad.dtype(), at(c_.x_grad, first), count * n_);
  }
  const T* x(std::int64_t i) const { return rows_[0] + i * n_; }
  const T* g(std::int64_t i) const { return rows_[1] + i * n_; }
  T* x_grad(std::int64_t i) const { return c_.x_grad ? rows_[2] + i * n_ : nullptr; }

 private:
  char* at(const Tensor& t, std::int64_t row) const { return t.raw<char>() + row * n_ * size_of(t.dtype()); }
  const RowNormCall& c_;
  const std::int64_t n_;
  const bool narrow_;
  std::vector<T> buffer_;
  std::array<T*, 3> rows_{};
};

template<class T>
void backward(const RowNormCall& c) {
  constexpr DType type = dtype_of<T>();
  const std::int64_t n = c.layout.length, rows = c.rows(), per_tile = rows_per_tile(rows, n),
                     tiles = ceil_div(rows, per_tile), at_once = std::max<std::int64_t>(1, 2048 / n);
  const Tensor weight = widened(c.weight, c.layout, type);
  const bool sums_needed = c.weight_grad || c.bias_grad,
             large = c.x.dtype() == type && c.x.numel() * size_of(type) >= large_bytes;
  const Tensor sums = sums_needed ? zeros({tiles, 2, n}, type) : Tensor();
  const auto* const kept = c.statistics.raw<RowStatistics<T>>();
  const Mean<T> mean(n);
  parallel_for(tiles, [&](std::int64_t tile) {
    T* const sum = sums_needed ? sums.raw<T>() + 2 * tile * n : nullptr;
    WideRows<T> wide(c, at_once);
    const std::int64_t end = std::min(rows, (tile + 1) * per_tile);
    for (std::int64_t first = tile * per_tile; first < end; first += at_once) {
      const std::int64_t count = std::min(at_once, end - first);
      wide.load(first, count);
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t r = first + i;
        const T* const w = weight ? weight.raw<T>() + r % c.layout.groups * n : nullptr;
        backward_row<T>(kept[r], c.centred, mean, n, wide.x(i), wide.g(i), w, wide.x_grad(i), large, sum,
                        sum ? sum + n : nullptr);
      }
      wide.store(first, count);
    }
    if (large) simd::end_streams();
  });
  add_tiles<T>(sums, tiles, n, 0, c.weight_grad);
  add_tiles<T>(sums, tiles, n, 1, c.bias_grad);
}

}  // namespace

void cpu_row_norm(const RowNormCall& c) {
  compute_type(c.x.dtype()) == DType::f64 ? forward<double>(c) : forward<float>(c);
}

void cpu_row_norm_backward(const RowNormCall& c) {
  compute_type(c.x.dtype()) == DType::f64 ? backward<double>(c) : backward<float>(c);
}

}  // namespace bobbin
