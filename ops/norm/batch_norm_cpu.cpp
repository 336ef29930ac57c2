// Batch normalisation on the CPU: two passes over the elements of each channel.
#include <bobbin/parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/ceil_div.h"
#include "core/strided_copy.h"
#include "ops/cpu/compute_type.h"
#include "ops/cpu/vectors.h"
#include "ops/norm/batch_norm.h"
#include "ops/norm/cpu_statistics.h"

namespace bobbin {
namespace {

using simd::Vector;

// The sums over the elements of channel c. terms(at, n, partial) adds the terms of the n elements from index
// `at` on, at most one vector, to the partial sums. Every 4096 elements, the partial sums are added to sums
// in f64.
template<std::size_t count, class T, class F>
std::array<double, count> sum_channel(const Channels& s, std::int64_t c, F&& terms) {
  constexpr std::int64_t block = 4096;
  std::array<double, count> sums{};
  Vector<T> partial[count] = {};
  std::int64_t held = 0;
  for (std::int64_t image = 0; image < s.images; ++image) {
    const std::int64_t begin = (image * s.channels + c) * s.size, end = begin + s.size;
    for (std::int64_t at = begin; at < end; at += simd::lanes<T>) {
      terms(at, std::min(simd::lanes<T>, end - at), partial);
      held += simd::lanes<T>;
      if (held < block && (image + 1 < s.images || at + simd::lanes<T> < end)) continue;
      for (std::size_t k = 0; k < count; ++k) {
        sums[k] += static_cast<double>(simd::reduce_sum<T>(partial[k]));
        partial[k] = Vector<T>{};
      }
      held = 0;
    }
  }
  return sums;
}

// Calls f(x) for each element of channel c, in order.
template<class T, class F>
void each_element(const Channels& s, std::int64_t c, const T* x, F&& f) {
  for (std::int64_t image = 0; image < s.images; ++image)
    for (std::int64_t i = 0, at = (image * s.channels + c) * s.size; i < s.size; ++i) f(x[at + i]);
}

// The statistics of a channel, with its mean and variance.
template<class T>
struct Moments {
  RowStatistics<T> statistics;
  double mean, variance;

  Moments(double shift, double total, double squares, double share, double eps, double unit = 1)
      : statistics(bobbin::statistics<T>(shift, total, squares, share, eps * unit * unit, unit)),
        mean((shift + total * share) / unit),
        variance(std::max(0.0, squares * share - total * share * (total * share)) / unit / unit) {
    if (std::isnan(squares)) variance = squares;
  }
};

// The same for a channel whose sums of squares leave the range of T, or nearly do.
template<class T>
Moments<T> scaled_moments(const Channels& s, std::int64_t c, const T* x, double eps) {
  double most = 0, sum = 0, total = 0, squares = 0;
  bool finite = true;
  each_element(s, c, x, [&](T v) {
    finite &= std::isfinite(v);
    most = std::max(most, std::abs(static_cast<double>(v)));
  });
  const double share = 1 / static_cast<double>(s.count()), nan = std::numeric_limits<double>::quiet_NaN();
  if (!finite) return Moments<T>(nan, nan, nan, share, eps);
  const double unit = unit_of<T>(most, eps);
  each_element(s, c, x, [&](T v) { sum += static_cast<double>(v) * unit; });
  const double shift = static_cast<double>(static_cast<T>(sum * share));
  each_element(s, c, x, [&](T v) {
    const double d = static_cast<double>(v) * unit - shift;
    total += d;
    squares += d * d;
  });
  return Moments<T>(shift, total, squares, share, eps, unit);
}

// The mean first, then the sums of the differences to it, which correct its rounding, and of their squares.
template<class T>
Moments<T> moments_of(const Channels& s, std::int64_t c, const T* x, double eps) {
  const double share = 1 / static_cast<double>(s.count());
  const std::int64_t next_image = s.channels * s.size;
  const auto shift = static_cast<T>(share * sum_channel<1, T>(s, c, [&](auto at, auto n, auto& sum) {
                                      __builtin_prefetch(x + at + next_image);
                                      sum[0] += simd::load_n(x + at, n, T(0));
                                    })[0]);
  const auto [total, squares] = sum_channel<2, T>(s, c, [&](auto at, auto n, auto& sum) {
    const auto d = simd::load_n(x + at, n, shift) - Vector<T>::all(shift);
    sum[0] += d;
    sum[1] += d * d;
  });
  if (!(std::isfinite(squares) && squares * share + eps > 0x1p-64)) return scaled_moments(s, c, x, eps);
  return Moments<T>(static_cast<double>(shift), total, squares, share, eps);
}

template<class T>
void moments(const Tensor& x, double eps, const ChannelMoments& out) {
  const Channels s(x.shape());
  parallel_for(s.channels, [&](std::int64_t c) {
    const Moments<T> m = moments_of(s, c, x.raw<T>(), eps);
    out.statistics.raw<RowStatistics<T>>()[c] = m.statistics;
    out.running.raw<T>()[c] = static_cast<T>(m.mean);
    out.running.raw<T>()[s.channels + c] = static_cast<T>(m.variance);
  });
}

// Calls f(channel, first, last) for each plane, whose elements are [first, last) of x, on several threads.
template<class F>
void each_plane(const Channels& s, F&& f) {
  const std::int64_t planes = s.images * s.channels,
                     tile = std::max<std::int64_t>(1, 8192 / std::max<std::int64_t>(1, s.size));
  parallel_for(ceil_div(planes, tile), [&](std::int64_t t) {
    for (std::int64_t p = t * tile; p < std::min(planes, (t + 1) * tile); ++p)
      f(p % s.channels, p * s.size, (p + 1) * s.size);
  });
}

template<class T>
void forward(const Tensor& x, const Tensor& statistics, const Tensor& weight, const Tensor& bias,
             const Tensor& y) {
  each_plane(Channels(x.shape()), [&](std::int64_t c, std::int64_t first, std::int64_t last) {
    const RowStatistics<T> s = statistics.raw<RowStatistics<T>>()[c];
    const T by = weight ? weight.raw<T>()[c] : T(1), more = bias ? bias.raw<T>()[c] : T(0);
    const T* const from = x.raw<T>();
    T* const to = y.raw<T>();
    for (std::int64_t i = first; i < last; ++i) to[i] = s.normal(from[i]) * by + more;
  });
}

template<class T>
void backward(const BatchNormBackward& v, const Tensor& x_grad) {
  const Channels s(v.x.shape());
  const T *const g = v.g.raw<T>(), *const x = v.x.raw<T>();
  const auto* const kept = v.statistics.raw<RowStatistics<T>>();
  T* const sums = v.sums.raw<T>();
  const std::int64_t next_image = s.channels * s.size;
  const double share = 1 / static_cast<double>(s.count());
  parallel_for(s.channels, [&](std::int64_t c) {
    const Normal<T> normal(kept[c]);
    const auto both = sum_channel<2, T>(s, c, [&](auto at, auto n, auto& out) {
      __builtin_prefetch(g + at + next_image);
      __builtin_prefetch(x + at + next_image);
      const auto cotangent = simd::load_n(g + at, n, T(0));
      out[0] += cotangent;
      out[1] += cotangent * normal(simd::load_n(x + at, n, x[at]));
    });
    for (std::size_t k = 0; k < 2; ++k) {
      const auto row = static_cast<std::int64_t>(k) * s.channels + c;
      sums[row] = static_cast<T>(both[k]);
      sums[2 * s.channels + row] = static_cast<T>(both[k] * share);
    }
  });
  T* const to = x_grad.raw<T>();
  each_plane(s, [&](std::int64_t c, std::int64_t first, std::int64_t last) {
    const RowStatistics<T> n = kept[c];
    const T all = sums[2 * s.channels + c], along = sums[3 * s.channels + c],
            by = v.weight ? v.weight.raw<T>()[c] : T(1);
    for (std::int64_t i = first; i < last; ++i)
      to[i] = (g[i] - all - n.normal(x[i]) * along) * n.inverse * n.unit * by;
  });
}

}  // namespace

void cpu_channel_moments(const Tensor& x, double eps, const ChannelMoments& out) {
  x.dtype() == DType::f64 ? moments<double>(x, eps, out) : moments<float>(x, eps, out);
}

void BatchNorm::cpu(Inputs x, Tensor& y) const {
  const DType type = compute_type(y.dtype());
  const Tensor in = row_major(x[0], type), weight = row_major(x[2], type), bias = row_major(x[3], type);
  in_compute_type(y, [&](const Tensor& out) {
    type == DType::f64 ? forward<double>(in, x[1], weight, bias, out)
                       : forward<float>(in, x[1], weight, bias, out);
  });
}

std::optional<Grads> BatchNorm::fused_vjp_cpu(const Vjp& v) const {
  BatchNormBackward b(v);
  const DType type = b.sums.dtype();
  for (Tensor* const t : {&b.g, &b.x, &b.weight}) *t = row_major(*t, type);
  in_compute_type(b.x_grad, [&](const Tensor& x_grad) {
    type == DType::f64 ? backward<double>(b, x_grad) : backward<float>(b, x_grad);
  });
  return b.grads(v);
}

}  // namespace bobbin
