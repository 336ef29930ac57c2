// The sums of a convolution by their definition, over the products that exist: padding has none. The fast
// kernels multiply padding, as zeros, and 0 times infinity is NaN; what they find NaN is summed again here.
#pragma once
#include "core/ceil_div.h"
#include "ops/conv/conv.h"

namespace bobbin {

/// Two of the row-major tensors x, weight and g of the form sum of conv2d(x, weight) * g give the derivative
/// for the third. Sums run in one order, in f64, and end where they are NaN.
template<class T>
struct ExistingProducts {
  ConvShape s;
  const T *x, *weight, *g;
  const T* gate =
      nullptr;  ///< shape of g: elements of g count as 0 where it is not positive; null: all count

  /// Element i of y.
  BOBBIN_HD double output(std::int64_t i) const {
    const auto [n, out, oy, ox] = position(i, s.out, s.oh, s.ow);
    const std::int64_t channels = s.in / s.options.groups,
                       first = out / (s.out / s.options.groups) * channels;
    Sum sum;
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t ky = 0; ky < s.kh; ++ky)
        for (std::int64_t kx = 0; kx < s.kw; ++kx)
          if (sum.add(x_at(n, first + c, pixel_y(oy, ky), pixel_x(ox, kx)),
                      weight + ((out * channels + c) * s.kh + ky) * s.kw + kx))
            return sum.value;
    return sum.value;
  }
  /// Element i of the gradient of x.
  BOBBIN_HD double input(std::int64_t i) const {
    const auto [n, in, row, col] = position(i, s.in, s.h, s.w);
    const std::int64_t channels = s.in / s.options.groups, outs = s.out / s.options.groups,
                       first = in / channels * outs;
    Sum sum;
    for (std::int64_t out = first; out < first + outs; ++out)
      for (std::int64_t ky = 0; ky < s.kh; ++ky)
        for (std::int64_t kx = 0; kx < s.kw; ++kx) {
          const std::int64_t top = row + s.options.padding.h - ky * s.options.dilation.h,
                             left = col + s.options.padding.w - kx * s.options.dilation.w,
                             oy = top / s.options.stride.h, ox = left / s.options.stride.w;
          if (top < 0 || left < 0 || oy >= s.oh || ox >= s.ow || oy * s.options.stride.h != top ||
              ox * s.options.stride.w != left)
            continue;
          const double v = g_at(((n * s.out + out) * s.oh + oy) * s.ow + ox);
          if (sum.add(v, weight + ((out * channels + in % channels) * s.kh + ky) * s.kw + kx))
            return sum.value;
        }
    return sum.value;
  }
  /// Element i of the gradient of the weight.
  BOBBIN_HD double weight_grad(std::int64_t i) const {
    const std::int64_t channels = s.in / s.options.groups;
    const auto [out, c, ky, kx] = position(i, channels, s.kh, s.kw);
    const std::int64_t in = out / (s.out / s.options.groups) * channels + c;
    Sum sum;
    for (std::int64_t n = 0; n < s.n; ++n)
      for (std::int64_t oy = 0; oy < s.oh; ++oy)
        for (std::int64_t ox = 0; ox < s.ow; ++ox)
          if (sum.add(g_at(((n * s.out + out) * s.oh + oy) * s.ow + ox),
                      x_at(n, in, pixel_y(oy, ky), pixel_x(ox, kx))))
            return sum.value;
    return sum.value;
  }

 private:
  struct Indices {
    std::int64_t a, b, c, d;
  };
  /// The indices of element i of a tensor whose last three sizes are given.
  static BOBBIN_HD Indices position(std::int64_t i, std::int64_t b, std::int64_t c, std::int64_t d) {
    return {i / d / c / b, i / d / c % b, i / d % c, i % d};
  }
  struct Sum {
    double value = 0;
    /// Adds a product, unless a factor is null. Returns whether the sum is NaN, and so remains it.
    BOBBIN_HD bool add(const T* a, const T* b) { return a && add(static_cast<double>(*a), b); }
    BOBBIN_HD bool add(double a, const T* b) {
      if (b) value += a * static_cast<double>(*b);
      return value != value;
    }
  };
  BOBBIN_HD std::int64_t pixel_y(std::int64_t oy, std::int64_t ky) const {
    return oy * s.options.stride.h - s.options.padding.h + ky * s.options.dilation.h;
  }
  BOBBIN_HD std::int64_t pixel_x(std::int64_t ox, std::int64_t kx) const {
    return ox * s.options.stride.w - s.options.padding.w + kx * s.options.dilation.w;
  }
  /// An element of x; null in the padding.
  BOBBIN_HD const T* x_at(std::int64_t n, std::int64_t channel, std::int64_t row, std::int64_t col) const {
    if (row < 0 || row >= s.h || col < 0 || col >= s.w) return nullptr;
    return x + ((n * s.in + channel) * s.h + row) * s.w + col;
  }
  BOBBIN_HD double g_at(std::int64_t i) const {
    return gate && static_cast<double>(gate[i]) <= 0 ? 0 : static_cast<double>(g[i]);
  }
};

}  // namespace bobbin
