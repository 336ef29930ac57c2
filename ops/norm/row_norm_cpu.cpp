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

namespace bobbin {
namespace {

using simd::lanes, simd::load_n, simd::Vector;

// The sums of `count` terms over n elements: add(i, k, sums) adds the terms of elements [i, i + k), at most a
// vector. Sums of 512 elements are added in f64.
template<std::size_t count, class T, class F>
std::array<double, count> sums_of(std::int64_t n, F&& add) {
  constexpr std::int64_t chunk = 512, step = 2 * lanes<T>;
  std::array<double, count> total{};
  for (std::int64_t c = 0; c < n; c += chunk) {
    const std::int64_t end = std::min(n, c + chunk);
    Vector<T> even[count] = {}, odd[count] = {};
    std::int64_t i = c;
    for (; i + step <= end; i += step) {
      add(i, lanes<T>, even);
      add(i + lanes<T>, lanes<T>, odd);
    }
    for (; i < end; i += lanes<T>) add(i, std::min(lanes<T>, end - i), even);
    for (std::size_t k = 0; k < count; ++k)
      total[k] += static_cast<double>(simd::reduce_sum<T>(even[k] + odd[k]));
  }
  return total;
}

// The statistics of a row whose sums of squares leave the range of T, or nearly do.
template<class T>
RowStatistics<T> scaled_statistics(const T* x, std::int64_t n, bool centred, double eps) {
  T most = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(x[i])) return statistics<T>(0, static_cast<double>(x[i]) * 0, 0, 1, 0);  // NaN
    most = std::max(most, std::abs(x[i]));
  }
  const double unit = unit_of<T>(static_cast<double>(most), eps), share = 1 / static_cast<double>(n);
  double sum = 0, total = 0, squares = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * unit;
  const double shift = centred ? static_cast<double>(static_cast<T>(sum * share)) : 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(x[i]) * unit - shift;
    total += d;
    squares += d * d;
  }
  return statistics<T>(shift, centred ? total : 0, squares, share, eps * unit * unit, unit);
}

// The mean first, then the sums of the differences to it, which correct its rounding, and of their squares.
template<class T>
RowStatistics<T> statistics_of(const T* x, std::int64_t n, bool centred, double eps) {
  const double share = 1 / static_cast<double>(n);
  T shift = 0;
  if (centred)
    shift = static_cast<T>(share * sums_of<1, T>(n, [x](std::int64_t i, std::int64_t k, auto& sum) {
                             sum[0] += load_n(x + i, k);
                           })[0]);
  const auto [total, squares] = sums_of<2, T>(n, [x, shift](std::int64_t i, std::int64_t k, auto& sum) {
    const Vector<T> d = load_n(x + i, k, shift) - Vector<T>::all(shift);
    sum[0] += d;
    sum[1] += d * d;
  });
  if (!(std::isfinite(squares) && squares * share + eps > 0x1p-64))
    return scaled_statistics(x, n, centred, eps);
  return statistics<T>(static_cast<double>(shift), centred ? total : 0, squares, share, eps);
}

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
  const Tensor weight = widened(c.weight, c.layout, type), bias = widened(c.bias, c.layout, type);
  auto* const kept = c.statistics.raw<RowStatistics<T>>();
  const Tensor in[] = {as_rows(c.x, c)};
  for_row_blocks(in, as_rows(c.y, c), 1, type, [&](const RowBlock& block) {
    for (std::int64_t r = 0; r < block.count; ++r) {
      const T* const x = block.input<T>(0, r);
      const RowStatistics<T> s = statistics_of(x, n, c.centred, c.eps);
      const std::int64_t row = block.first + r;
      if (kept) kept[row] = s;
      const Normal<T> normal(s);
      const T* const w = weight ? weight.raw<T>() + row % c.layout.groups * n : nullptr;
      const T* const b = bias ? bias.raw<T>() + row % c.layout.groups * n : nullptr;
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

// The gradient of x of one row. It also adds the row's terms to the sums for weight and bias, if there are
// any.
template<class T>
void backward_row(const RowStatistics<T>& s, bool centred, std::int64_t n, const T* x, const T* g, const T* w,
                  T* x_grad, bool large, T* weight_sum, T* bias_sum) {
  const Normal<T> normal(s);
  // Terms times a power of two of about 1 / n: their sum is no larger than the largest of them.
  const int exponent = n > 1 ? std::ilogb(static_cast<double>(n - 1)) + 1 : 0;
  const Vector<T> part = Vector<T>::all(static_cast<T>(std::ldexp(1.0, -exponent)));
  const auto weighted = [=](std::int64_t i, std::int64_t k) {
    const Vector<T> v = load_n(g + i, k);
    return w ? v * load_n(w + i, k) : v;
  };
  const auto [sum, along] = sums_of<2, T>(n, [&](std::int64_t i, std::int64_t k, auto& sums) {
    const Vector<T> v = load_n(g + i, k), z = normal(load_n(x + i, k, x[0])),
                    h = weighted(i, k) * part;  // x[0]: past the end of the row, z is finite too
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
  const double share = std::ldexp(1.0, exponent) / static_cast<double>(n);
  const Vector<T> mean = Vector<T>::all(centred ? static_cast<T>(sum * share) : T(0)),
                  slope = Vector<T>::all(static_cast<T>(along * share)), unit = Vector<T>::all(s.unit);
  write_row(x_grad, n, large, [&](std::int64_t i, std::int64_t k) {
    return ((weighted(i, k) - mean) - normal(load_n(x + i, k)) * slope) * normal.inverse * unit;
  });
}

template<class T>
void backward(const RowNormCall& c) {
  constexpr DType type = dtype_of<T>();
  const std::int64_t n = c.layout.length, rows = c.rows(), per_tile = rows_per_tile(rows, n),
                     tiles = ceil_div(rows, per_tile);
  const Tensor weight = widened(c.weight, c.layout, type);
  const bool sums_needed = c.weight_grad || c.bias_grad, narrow = c.x.dtype() != type,
             large = !narrow && c.x.numel() * size_of(type) >= large_bytes;
  const Tensor sums = sums_needed ? zeros({tiles, 2, n}, type) : Tensor();
  const auto* const kept = c.statistics.raw<RowStatistics<T>>();
  parallel_for(tiles, [&](std::int64_t tile) {
    std::vector<T> buffer(narrow ? static_cast<std::size_t>(3 * n) : 0);
    T* const sum = sums_needed ? sums.raw<T>() + 2 * tile * n : nullptr;
    const auto row_of = [&](const Tensor& t, std::int64_t r, std::int64_t slot) {
      if (!narrow) return t.raw<T>() + r * n;
      T* const wide = buffer.data() + slot * n;
      convert(t.dtype(), t.raw<char>() + r * n * size_of(t.dtype()), 1, type, wide, n);
      return wide;
    };
    for (std::int64_t r = tile * per_tile; r < std::min(rows, (tile + 1) * per_tile); ++r) {
      T* const x_grad = !c.x_grad ? nullptr : narrow ? buffer.data() + 2 * n : c.x_grad.raw<T>() + r * n;
      const T* const w = weight ? weight.raw<T>() + r % c.layout.groups * n : nullptr;
      backward_row<T>(kept[r], c.centred, n, row_of(c.x, r, 0), row_of(c.g, r, 1), w, x_grad, large, sum,
                      sum ? sum + n : nullptr);
      if (narrow && x_grad)
        convert(type, x_grad, 1, c.x_grad.dtype(), c.x_grad.raw<char>() + r * n * size_of(c.x_grad.dtype()),
                n);
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
