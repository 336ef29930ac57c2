// Scalar functions that kernels share, written without branches so that compilers vectorise loops over them.
#pragma once
#include <bobbin/dtype.h>

#include <bit>
#include <cmath>
#include <cstdint>

namespace bobbin::math {

template<class T>
BOBBIN_HD T exp(T x) {
  using std::exp;
  return exp(x);
}

/// a - b and its rounding error: a - b == difference + rest exactly (Knuth's TwoSum).
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
// F is float or a vector of floats, and I is the integer type of the same size.
constexpr float round = 0x1.8p23f;  // x + round holds the nearest integer to x in its low bits

// x = n ln 2 + r with |r| <= ln 2 / 2. n ln 2 is subtracted in two parts, of which the first is exact. With
// `to` = round + k, the low bits of `shifted` hold n + k.
template<class F>
struct Reduced {
  F shifted, n, r;
  explicit Reduced(F x, F to = F{} + round) {
    constexpr float log2e = 1.44269504089f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    shifted = x * log2e + to;
    n = shifted - to;
    r = (x - n * ln2_high) - n * ln2_low;
  }
};

// e^r - 1 by the minimax polynomial of this degree that begins with r. Before rounding, 1 + the result is
// within 0.03 ULP of e^r.
template<class F>
F exp_less_1(F r) {
  F p = r * 1.3814540e-3f + 8.3687451e-3f;
  p = p * r + 4.1668391e-2f;
  p = p * r + 1.6666520e-1f;
  p = p * r + 4.9999993e-1f;
  return p * (r * r) + r;
}

// 2^n e^r. The power of two is applied in two steps, so that results can be subnormal.
template<class F, class I>
F exp(const Reduced<F>& x) {
  const I n = std::bit_cast<I>(x.shifted) - std::bit_cast<std::int32_t>(round), half = n >> 1;
  return (exp_less_1(x.r) + 1.0f) * std::bit_cast<F>((half + 127) << 23) *
         std::bit_cast<F>((n - half + 127) << 23);
}
constexpr float exp_low = -105.0f;  // e^x rounds to 0 below -103.98
constexpr float exp_high = 89.0f;   // and to infinity above 88.73

template<class F, class I>
F exp_difference(F a, F b) {
  const auto [d, rest] = two_difference(a, b);
  const F zero = F{}, low = zero + exp_low;
  Reduced<F> x(d < low ? zero : d);  // an underflow would cost 150 cycles
  x.r += rest;
  const F e = exp<F, I>(x);
  return d < low ? zero : e;
}
}  // namespace detail

/// Within 1.02 ULP (ULP.md); NaN, infinities and subnormal results included.
inline float exp(float x) {
  float c = x < detail::exp_low ? detail::exp_low : x;
  c = c > detail::exp_high ? detail::exp_high : c;
  return detail::exp<float, std::int32_t>(detail::Reduced(c));
}

/// exp(a - b) for a <= b, as exact as exp itself: the rounding error of a - b is corrected.
inline float exp_difference(float a, float b) { return detail::exp_difference<float, std::int32_t>(a, b); }
#endif
template<class T>
BOBBIN_HD T exp_difference(T a, T b) {
  const auto [d, rest] = two_difference(a, b);
  const T e = math::exp(d);
  return d - d == T(0) ? e + e * rest : e;
}

}  // namespace bobbin::math
