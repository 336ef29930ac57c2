// Batch normalisation on the CPU: two passes over the elements of each channel.
#include <bobbin/parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/ceil_div.h"
#include "core/strided_copy.h"
#include "ops/cpu/compute_type.h"
#include "ops/cpu/vectors.h"
#include "ops/norm/batch_norm.h"

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

template<class T>
void moments(const Tensor& x, const Tensor& out) {
  const Channels s(x.shape());
  const T* const from = x.raw<T>();
  const auto count = static_cast<double>(s.count());
  const std::int64_t next_image = s.channels * s.size;
  parallel_for(s.channels, [&](std::int64_t c) {
    const auto mean = static_cast<T>(sum_channel<1, T>(s, c,
                                                       [&](auto at, auto n, auto& sum) {
                                                         __builtin_prefetch(from + at + next_image);
                                                         sum[0] += simd::load_n(from + at, n, T(0));
                                                       })[0] /
                                     count);
    const auto [squares] = sum_channel<1, T>(s, c, [&](auto at, auto n, auto& sum) {
      const auto centred = simd::load_n(from + at, n, mean) - Vector<T>::all(mean);
      sum[0] += centred * centred;
    });
    out.raw<T>()[c] = mean;
    out.raw<T>()[s.channels + c] = static_cast<T>(squares / count);
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

// 1 / sqrt(variance + eps) of each channel.
template<class T>
std::vector<T> scales(const Tensor& moments, double eps) {
  std::vector<T> out;
  const std::int64_t channels = moments.size(1);
  for (std::int64_t c = 0; c < channels; ++c)
    out.push_back(static_cast<T>(1 / std::sqrt(static_cast<double>(moments.raw<T>()[channels + c]) + eps)));
  return out;
}

template<class T>
void forward(const Tensor& x, const Tensor& moments, const Tensor& weight, const Tensor& bias,
             const Tensor& y, double eps) {
  const auto scale = scales<T>(moments, eps);
  each_plane(Channels(x.shape()), [&](std::int64_t c, std::int64_t first, std::int64_t last) {
    const T mean = moments.raw<T>()[c],
            by = scale[static_cast<std::size_t>(c)] * (weight ? weight.raw<T>()[c] : T(1)),
            more = bias ? bias.raw<T>()[c] : T(0);
    const T* const from = x.raw<T>();
    T* const to = y.raw<T>();
    for (std::int64_t i = first; i < last; ++i) to[i] = (from[i] - mean) * by + more;
  });
}

template<class T>
void backward(const BatchNormBackward& v, double eps, const Tensor& x_grad) {
  const Channels s(v.x.shape());
  const auto scale = scales<T>(v.moments, eps);
  const T *const g = v.g.raw<T>(), *const x = v.x.raw<T>(), *const mean = v.moments.raw<T>();
  T* const sum = v.sums.raw<T>();
  const std::int64_t next_image = s.channels * s.size;
  parallel_for(s.channels, [&](std::int64_t c) {
    const auto both = sum_channel<2, T>(s, c, [&](auto at, auto n, auto& out) {
      __builtin_prefetch(g + at + next_image);
      __builtin_prefetch(x + at + next_image);
      const auto cotangent = simd::load_n(g + at, n, T(0));
      out[0] += cotangent;
      out[1] += cotangent * (simd::load_n(x + at, n, mean[c]) - Vector<T>::all(mean[c]));
    });
    sum[c] = static_cast<T>(both[0]);
    sum[s.channels + c] = static_cast<T>(both[1] * static_cast<double>(scale[static_cast<std::size_t>(c)]));
  });
  const T count = static_cast<T>(s.count());
  T* const to = x_grad.raw<T>();
  each_plane(s, [&](std::int64_t c, std::int64_t first, std::int64_t last) {
    const T by = scale[static_cast<std::size_t>(c)], m = mean[c], all = sum[c] / count,
            along = sum[s.channels + c] / count * by, out = by * (v.weight ? v.weight.raw<T>()[c] : T(1));
    for (std::int64_t i = first; i < last; ++i) to[i] = (g[i] - all - (x[i] - m) * along) * out;
  });
}

}  // namespace

void cpu_channel_moments(const Tensor& x, const Tensor& out) {
  x.dtype() == DType::f64 ? moments<double>(x, out) : moments<float>(x, out);
}

void BatchNorm::cpu(Inputs x, Tensor& y) const {
  const DType type = compute_type(y.dtype());
  const Tensor in = row_major(x[0], type), weight = row_major(x[2], type), bias = row_major(x[3], type);
  in_compute_type(y, [&](const Tensor& out) {
    type == DType::f64 ? forward<double>(in, x[1], weight, bias, out, eps)
                       : forward<float>(in, x[1], weight, bias, out, eps);
  });
}

std::optional<Grads> BatchNorm::fused_vjp_cpu(const Vjp& v) const {
  BatchNormBackward b(v);
  const DType type = b.sums.dtype();
  for (Tensor* const t : {&b.g, &b.x, &b.weight}) *t = row_major(*t, type);
  in_compute_type(b.x_grad, [&](const Tensor& x_grad) {
    type == DType::f64 ? backward<double>(b, eps, x_grad) : backward<float>(b, eps, x_grad);
  });
  return b.grads(v);
}

}  // namespace bobbin
