// The exponentials of the softmax family, as accurate as the storage type needs. The maximum is subtracted
// before the difference is scaled by log2(e).
#pragma once
#include "ops/cuda/rows/packed.cuh"
#include "ops/scalar_math.h"

namespace bobbin::cuda {

/// exp(d + rest) for |rest| far smaller than |d|, within about 3 ULP: corrects the rounding error of
/// d log2(e). Results under 2^-126 are 0. A NaN that is only in `rest` is ignored: d = -infinity causes one.
__device__ __forceinline__ float exp_with_rest(float d, float rest) {
  constexpr float log2e = 1.44269502e+00f;       // the nearest float
  constexpr float log2e_rest = 1.33497582e-08f;  // (log2(e) - log2e) ln 2
  constexpr float ln2 = 6.93147182e-01f;
  float y = d * log2e;
  ptx::opaque(y);  // or the compiler computes -y as a second product
  const float e = ptx::ex2_approx_ftz(y);
  const float lost = fmaf(fmaf(d, log2e, -y), ln2, fmaf(d, log2e_rest, rest));
  return fmaf(e, fminf(lost, 1.0f), e);
}

/// exp(x), for rows stored as T.
template<class T>
__device__ __forceinline__ Compute<T> exp_of(Compute<T> x) {
  if constexpr (std::is_same_v<T, double>)
    return math::exp(x);
  else if constexpr (std::is_same_v<T, float>)
    return exp_with_rest(x, 0.0f);
  else
    return ptx::ex2_approx_ftz(x * 1.44269502f);
}

/// e^x - 1 for |x| <= ln 2 / 2; in f32 by the polynomial of math::detail::exp_less_1.
__device__ __forceinline__ double expm1_small(double x) { return expm1(x); }
__device__ __forceinline__ float expm1_small(float x) {
  float p = fmaf(x, 1.3814540e-3f, 8.3687451e-3f);
  p = fmaf(p, x, 4.1668391e-2f);
  p = fmaf(p, x, 1.6666520e-1f);
  p = fmaf(p, x, 4.9999993e-1f);
  return fmaf(p, x * x, x);
}

/// exp(x - m) for x <= m, for rows stored as T; NaN where both are infinite.
template<class T>
__device__ __forceinline__ Compute<T> exp_minus(Compute<T> x, Compute<T> m) {
  if constexpr (is_16bit_float<T>) {
    return exp_of<T>(x - m);
  } else {
    const auto [difference, rest] = math::two_difference(x, m);
    if constexpr (std::is_same_v<T, float>) {
      return exp_with_rest(difference, rest);
    } else {
      const double e = math::exp(difference);
      return e > 0 ? e + e * rest : e;
    }
  }
}

/// exp(x - m) more accurately, for the factors that convert sums from one maximum to another: an error in
/// such a factor changes every element of the row.
template<class T>
__device__ __forceinline__ Compute<T> exp_between(Compute<T> x, Compute<T> m) {
  if constexpr (std::is_same_v<T, float>) {
    const auto [difference, rest] = math::two_difference(x, m);
    const float e = math::exp(difference);
    return e > 0 ? e + e * rest : e;
  } else {
    return exp_minus<T>(x, m);
  }
}

}  // namespace bobbin::cuda
