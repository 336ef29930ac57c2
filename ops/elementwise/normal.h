// Functions of the normal distribution, and e^-x^2, that keep their relative accuracy where they are tiny.
// Number types that are not built in, such as dual numbers, take the plain formulas.
#pragma once
#include <limits>
#include <numbers>
#include <type_traits>

#include "ops/scalar_math.h"
#ifdef __CUDACC__
#include "core/cuda/ptx.cuh"
#endif

namespace bobbin::fn {

/// a / b for b between 1 and 10; of f32 on a GPU within 2 units in the last place, in two instructions.
template<class T>
BOBBIN_HD T quotient(T a, T b) {
#ifdef __CUDA_ARCH__
  if constexpr (std::is_same_v<T, float>) return __fdividef(a, b);
#endif
  return a / b;
}

/// x, or the end of [-limit, limit] that is nearest to it; NaN stays NaN. Beyond the limits that the functors
/// choose, every exponential is 0, so that 0 times x is never 0 times infinity.
template<class T>
BOBBIN_HD T bounded(T x, double limit) {
#ifdef __CUDA_ARCH__
  if constexpr (std::is_same_v<T, float>) {
    const auto end = static_cast<float>(limit);
    return cuda::ptx::min_nan(cuda::ptx::max_nan(x, -end), end);
  }
#endif
  return x < T(-limit) ? T(-limit) : x > T(limit) ? T(limit) : x;
}
template<class T>
BOBBIN_HD T magnitude(T x) {
  return x < T(0) ? T(-x) : x;
}

/// a b - `product`, where `product` is a b as rounded, or another number near it. Exact unless it underflows.
template<class T>
BOBBIN_HD T product_error(T a, T b, T product) {
#if defined(__CUDA_ARCH__) || defined(__FP_FAST_FMAF)
  return std::fma(a, b, -product);
#else  // Dekker's product: the upper halves have a product without rounding
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  constexpr Bits upper = ~Bits{0} << (sizeof(T) == 4 ? 12 : 27);
  const T a_high = std::bit_cast<T>(std::bit_cast<Bits>(a) & upper), a_low = a - a_high;
  const T b_high = std::bit_cast<T>(std::bit_cast<Bits>(b) & upper), b_low = b - b_high;
  return ((a_high * b_high - product) + (a_high * b_low + a_low * b_high)) + a_low * b_low;
#endif
}

/// e^(-scale x^2), where the scale is 1 or 1/2. The rounding error of x^2 would cost x^2 units in the last
/// place, and is corrected.
template<class T>
BOBBIN_HD T exp_minus_square(T x, double scale = 1) {
  if constexpr (std::is_floating_point_v<T>) {
    const T square = x * x, e = math::exp(T(-scale) * square);
    return e - e * (T(scale) * product_error(x, x, square));
  } else {
    return math::exp(T(-scale) * (x * x));
  }
}

inline constexpr double density_at_0 = std::numbers::inv_sqrtpi / std::numbers::sqrt2;  ///< 1 / sqrt(2 pi)

/// The normal distribution at t >= 0: P(Z > t), and its density, which is e^(-t^2/2) / sqrt(2 pi).
template<class T>
struct NormalTail {
  T t, exponential;
  BOBBIN_HD explicit NormalTail(T t) : t(t), exponential(exp_minus_square(t, 0.5)) {}

  /// c P(Z > t).
  BOBBIN_HD T probability_times(T c) const {
#ifndef __CUDA_ARCH__
    if constexpr (std::is_same_v<T, float>) {
      const Ratio r = ratio();
      const float square = t * t, e = c * math::exp(-0.5f * square);
      return r.high * e + e * (r.low - r.high * (0.5f * product_error(t, t, square)));
    } else {
      return c * probability();
    }
#else  // without what rounding took off: the GPU would be slower by an eighth
    if constexpr (std::is_same_v<T, float>)
      return (c * ratio().high) * exponential;
    else
      return c * probability();
#endif
  }
  /// g (P(Z > t) - t density(t)), which is g times the derivative of t P(Z > t).
  BOBBIN_HD T slope_times(T g) const {
    if constexpr (std::is_same_v<T, float>) {
      const Ratio r = ratio();
      return (g * exponential) * ((r.high - T(density_at_0) * t) + r.low);
    } else {
      return g * (probability() - T(density_at_0) * t * exponential);
    }
  }

 private:
  BOBBIN_HD T probability() const {
    using std::erf, std::erfc;
    constexpr double root_half = std::numbers::sqrt2 / 2, rest = -4.833646656726457e-17;  // of 1 / sqrt(2)
    const T x = t * T(root_half);
    if constexpr (std::is_floating_point_v<T>) {
      // erfc at x and not at t / sqrt(2) would cost t^2 units: its slope corrects the difference.
      const T off = product_error(t, T(root_half), x) + t * T(rest);
      return T(0.5) * erfc(x) - T(std::numbers::inv_sqrtpi) * exponential * off;
    } else {
      return T(0.5) - T(0.5) * erf(x);
    }
  }
  // P(Z > t) e^(t^2/2) for t <= 14.5: w times the minimax polynomial of degree 8 of w = 1 / (1 + 0.27 t),
  // with a relative error of 2.4e-8. Beyond, the exponential is 0. `low` is what rounding took off `high`:
  // that of the product, and that of w, which changes the result by 1 + 1.95 w times as much.
  struct Ratio {
    float high, low;
  };
  BOBBIN_HD Ratio ratio() const {
    const float step = 0.27f * t, sum = 1 + step, w = 1 / sum;
    float p = 0.028961094948f * w - 0.126485830996f;
    p = p * w + 0.169786090154f;
    p = p * w - 0.069210680804f;
    p = p * w + 0.107825567409f;
    p = p * w + 0.072049638247f;
    p = p * w + 0.101810601202f;
    p = p * w + 0.107542875059f;
    p = p * w + 0.107720656664f;
    const float high = p * w;
#ifdef __CUDA_ARCH__
    return {high, 0};
#else
    const float lost =
        -product_error(w, sum, 1.0f) - w * ((step - (sum - 1)) + product_error(0.27f, t, step));
    return {high, product_error(p, w, high) + high * (lost * (1 + 1.95f * w))};
#endif
  }
};

}  // namespace bobbin::fn
