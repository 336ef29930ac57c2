// The parts of a convolution that do not touch each other: a group of channels of an image.
#pragma once
#include <bobbin/parallel.h>

#include "core/ceil_div.h"
#include "ops/conv/conv.h"

namespace bobbin {

/// Where the parts of group g of image n begin.
template<class T>
struct ConvPart {
  const ConvShape& s;
  std::int64_t n, g;
  T* x(const Tensor& t) const { return t.raw<T>() + (n * s.in + g * s.group_in()) * s.h * s.w; }
  T* y(const Tensor& t) const { return t.raw<T>() + (n * s.out + g * s.group_out()) * s.places(); }
  T* weight(const Tensor& t) const { return t.raw<T>() + g * s.group_out() * s.window(); }
  /// Its channels' biases, of y or of x; null where there are none.
  const T* out_bias(const Tensor& t) const { return t ? t.raw<T>() + g * s.group_out() : nullptr; }
  const T* in_bias(const Tensor& t) const { return t ? t.raw<T>() + g * s.group_in() : nullptr; }
  /// Adds to each channel of this part of y, or of x, its bias, where there is one.
  void add_bias_to_y(const Tensor& bias, const Tensor& t) const {
    if (bias) add(out_bias(bias), s.group_out(), s.places(), y(t));
  }
  void add_bias_to_x(const Tensor& bias, const Tensor& t) const {
    if (bias) add(in_bias(bias), s.group_in(), s.h * s.w, x(t));
  }

 private:
  static void add(const T* bias, std::int64_t channels, std::int64_t size, T* to) {
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t i = 0; i < size; ++i) *to++ += bias[c];
  }
};

/// Calls f(part) for each, on several threads.
template<class T, class F>
void each_part(const ConvShape& s, F&& f) {
  parallel_for(s.n * s.options.groups, [&](std::int64_t i) {
    f(ConvPart<T>{s, i / s.options.groups, i % s.options.groups});
  });
}

/// Images in at most so many runs, whatever the number of threads: each is summed by itself, then all of them
/// in order. run(first, last, group, sum) adds the gradients of images [first, last) to sum: the group's part
/// of the weight, then, where there is a bias, its part of that.
constexpr std::int64_t weight_grad_runs = 16;
template<class T, class F>
void sum_weight_grads(const ConvShape& s, const Tensor& weight, const Tensor& bias, F&& run) {
  const std::int64_t runs = std::min(s.n, weight_grad_runs), groups = s.options.groups,
                     of_weight = s.group_out() * s.window(), size = of_weight + s.group_out();
  const Tensor sums = empty({runs, groups, size}, weight.dtype());
  T* const sum = sums.raw<T>();
  parallel_for(runs * groups, [&](std::int64_t i) {
    const std::int64_t r = i / groups;
    std::fill_n(sum + i * size, size, T(0));
    run(s.n * r / runs, s.n * (r + 1) / runs, i % groups, sum + i * size);
  });
  const auto total = [&](std::int64_t begin, std::int64_t count, const Tensor& t) {
    constexpr std::int64_t some = 1024;
    const std::int64_t parts = ceil_div(count, some);
    parallel_for(parts * groups, [&](std::int64_t i) {
      const std::int64_t g = i / parts, first = i % parts * some, last = std::min(count, first + some);
      T* const out = t.raw<T>() + g * count;
      std::fill(out + first, out + last, T(0));
      for (std::int64_t r = 0; r < runs; ++r) {
        const T* const from = sum + (r * groups + g) * size + begin;
        for (std::int64_t k = first; k < last; ++k) out[k] += from[k];
      }
    });
  };
  total(0, of_weight, weight);
  if (bias) total(of_weight, s.group_out(), bias);
}

}  // namespace bobbin
