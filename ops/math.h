// Scalar functions that kernels share, written without branches so that compilers vectorise loops over them.
#pragma once
#include <bobbin/dtype.h>

#if defined(__AVX512F__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace bobbin::math {

template<class T>
BOBBIN_HD T exp(T x) {
  using std::exp;
  return exp(x);
}

/// a - b, and the part that rounding took from it: a - b == difference + rest exactly (Knuth's TwoSum).
template<class T>
struct Difference {
  T difference, rest;
};
template<class T>
BOBBIN_HD Difference<T> two_difference(T a, T b) {
  const T d = a - b, t = d - a;
  return {d, (a - (d - t)) - (b + t)};
}

#ifndef __CUDACC__
namespace detail {
// 2^n (1 + r + r^2/2 + ...) for x = n ln 2 + r, |r| <= ln 2 / 2. The polynomial is Cephes' expf; n ln 2 is
// taken off in two parts, the first exact. The power is applied in two steps, so that results reach the
// subnormals.
// F is float and I an integer as wide, or both are vectors of them.
template<class F, class I>
F exp_reduced(F x, F rest) {
  constexpr float log2e = 1.44269504089f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  constexpr float round = 0x1.8p23f;  // adding it leaves the nearest integer in the low bits
  const F shifted = x * log2e + round;
  const F n = shifted - round;
  const F r = ((x - n * ln2_high) - n * ln2_low) + rest;
  F p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
#if defined(__AVX512F__)
  // The same in one step, and one rounding.
  if constexpr (sizeof(F) == 64)
    return (F)_mm512_scalef_ps(reinterpret_cast<const __m512&>(p), reinterpret_cast<const __m512&>(n));
#endif
  const I k = std::bit_cast<I>(shifted) - std::bit_cast<std::int32_t>(round);
  const I half = k >> 1;
  return p * std::bit_cast<F>((half + 127) << 23) * std::bit_cast<F>((k - half + 127) << 23);
}
constexpr float exp_low = -105.0f;  // e^x rounds to 0 below -103.98
constexpr float exp_high = 89.0f;   // and to infinity above 88.73

template<class F, class I>
F exp_difference(F a, F b) {
  const auto [d, rest] = two_difference(a, b);
  const F zero = F{}, low = zero + exp_low;
  const F e = exp_reduced<F, I>(d < low ? low : d, rest);
  return d < low ? zero : e;
}
}  // namespace detail

/// Within 1.01 ULP (ULP.md); NaN, infinities and subnormal results included.
inline float exp(float x) {
  float c = x < detail::exp_low ? detail::exp_low : x;
  c = c > detail::exp_high ? detail::exp_high : c;
  return detail::exp_reduced<float, std::int32_t>(c, 0.0f);
}

/// exp(a - b) for a <= b, as close to the exact difference's as exp: rounding of a - b is made up for.
inline float exp_difference(float a, float b) { return detail::exp_difference<float, std::int32_t>(a, b); }
#endif
template<class T>
BOBBIN_HD T exp_difference(T a, T b) {
  const auto [d, rest] = two_difference(a, b);
  const T e = math::exp(d);
  return d - d == T(0) ? e + e * rest : e;
}

}  // namespace bobbin::math
