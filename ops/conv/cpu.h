// What the CPU kernels of convolutions share: the part of the tensors that one thread works on, the sum of
// weight gradients over images, and the direct convolutions that cpu.cpp chooses for stride 1.
#pragma once
#include <bobbin/parallel.h>

#include <algorithm>
#include <cmath>

#include "core/ceil_div.h"
#include "ops/conv/existing_products.h"

namespace bobbin {

/// One group of channels of one image.
template<class T>
struct ConvGroup {
  const ConvShape& s;
  std::int64_t image, group;

  /// Pointers to this group's first element of x, y, the weight and a bias of y or of x. The latter two are
  /// null where there is no bias.
  T* x(const Tensor& t) const { return t.raw<T>() + (image * s.in + group * s.group_in()) * s.h * s.w; }
  T* y(const Tensor& t) const {
    return t.raw<T>() + (image * s.out + group * s.group_out()) * s.output_positions();
  }
  T* weight(const Tensor& t) const { return t.raw<T>() + group * s.group_out() * s.taps(); }
  const T* out_bias(const Tensor& t) const { return t ? t.raw<T>() + group * s.group_out() : nullptr; }
  const T* in_bias(const Tensor& t) const { return t ? t.raw<T>() + group * s.group_in() : nullptr; }

  /// Adds the bias, where there is one, to this group's channels of y, or of x.
  void add_bias_to_y(const Tensor& bias, const Tensor& t) const {
    if (bias) add(out_bias(bias), s.group_out(), s.output_positions(), y(t));
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

/// Calls f(ConvGroup) for each group of each image, on several threads.
template<class T, class F>
void each_group(const ConvShape& s, F&& f) {
  parallel_for(s.n * s.options.groups, [&](std::int64_t i) {
    f(ConvGroup<T>{s, i / s.options.groups, i % s.options.groups});
  });
}

/// The images are divided into at most this many slices. It does not depend on the number of threads, so the
/// order of the additions does not either.
constexpr std::int64_t weight_grad_slices = 16;

/// Sums the gradients of the weight and, where there is one, of the bias: first within each slice of images,
/// then over the slices in order. add_slice(first, last, group, sum) adds the gradients of images
/// [first, last) to sum, which holds the group's part of the weight, then its part of the bias, in f64: one
/// f32 sum over all positions of many images would lose digits.
template<class T, class F>
void sum_weight_grads(const ConvShape& s, const Tensor& weight, const Tensor& bias, F&& add_slice) {
  const std::int64_t slices = std::min(s.n, weight_grad_slices), groups = s.options.groups,
                     weight_size = s.group_out() * s.taps(), size = weight_size + s.group_out();
  const Tensor sums = empty({slices, groups, size}, DType::f64);
  double* const sum = sums.raw<double>();
  parallel_for(slices * groups, [&](std::int64_t i) {
    const std::int64_t slice = i / groups;
    std::fill_n(sum + i * size, size, 0);
    add_slice(s.n * slice / slices, s.n * (slice + 1) / slices, i % groups, sum + i * size);
  });
  // out[g] = the sum over the slices of elements [begin, begin + count) of group g's sums.
  const auto sum_slices = [&](std::int64_t begin, std::int64_t count, const Tensor& out) {
    constexpr std::int64_t chunk = 1024;
    const std::int64_t chunks = ceil_div(count, chunk);
    parallel_for(chunks * groups, [&](std::int64_t i) {
      const std::int64_t g = i / chunks, first = i % chunks * chunk, last = std::min(count, first + chunk);
      double total[chunk] = {};
      for (std::int64_t slice = 0; slice < slices; ++slice) {
        const double* const from = sum + (slice * groups + g) * size + begin + first;
        for (std::int64_t k = 0; k < last - first; ++k) total[k] += from[k];
      }
      std::transform(total, total + (last - first), out.raw<T>() + g * count + first,
                     [](double v) { return static_cast<T>(v); });
    });
  };
  sum_slices(0, weight_size, weight);
  if (bias) sum_slices(weight_size, s.group_out(), bias);
}

/// Whether all elements are finite: only others make the product with padding NaN.
template<class T>
bool is_finite(const Tensor& t) {
  return std::all_of(t.raw<T>(), t.raw<T>() + t.numel(), [](T v) { return std::isfinite(v); });
}

/// Replaces each element i of a row-major tensor that is NaN by sum(i), a sum of ExistingProducts.
template<class T, class F>
void replace_nan(const Tensor& t, F&& sum) {
  constexpr std::int64_t chunk = 4096;
  parallel_for(ceil_div(t.numel(), chunk), [&](std::int64_t k) {
    for (std::int64_t i = k * chunk; i < std::min((k + 1) * chunk, t.numel()); ++i)
      if (T& v = t.raw<T>()[i]; std::isnan(v)) v = static_cast<T>(sum(i));
  });
}

// Direct convolutions of stride 1, for float and double, on row-major tensors. They need no im2col columns:
// in an image that is stored with its padding, the input of a kernel tap at consecutive output positions is
// consecutive, so each tap adds a multiple of the image, shifted by a constant offset.

/// y = relu(x * weight + bias); no bias if it is undefined, and no relu if `relu` is false.
template<class T>
void direct_forward(const ConvShape&, const Tensor& x, const Tensor& weight, const Tensor& bias, bool relu,
                    const Tensor& y);

/// The gradient of x, and those of the weight and, where it is defined, of the bias. g is the cotangent of
/// the output; where a gate (the output of relu) is given, g counts as 0 where the gate is not positive.
/// direct_input_grad adds a bias, if given, to each channel of its result.
template<class T>
void direct_input_grad(const ConvShape&, const Tensor& g, const Tensor& gate, const Tensor& weight,
                       const Tensor& bias, const Tensor& x);
template<class T>
void direct_weight_grad(const ConvShape&, const Tensor& x, const Tensor& g, const Tensor& gate,
                        const Tensor& weight, const Tensor& bias);

}  // namespace bobbin
