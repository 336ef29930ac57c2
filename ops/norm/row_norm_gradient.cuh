// The derivative of a normalised row for its elements, as the GPU kernels compute it.
#pragma once
#include <cmath>

#include "ops/norm/statistics.h"

namespace bobbin::cuda {

/// With the normalised elements n and their cotangents h, the gradient is (h - mean(h) - n mean(h n)) /
/// deviation, without mean(h) if the mean was not subtracted. The sums are of terms times a power of two of
/// about 1 / length, so that they are no larger than the largest term.
template<class C>
struct RowGradient {
  C part, share;
  bool centred;

  RowGradient(std::int64_t length, bool centred) : centred(centred) {
    const int exponent = length > 1 ? std::ilogb(static_cast<double>(length - 1)) + 1 : 0;
    part = static_cast<C>(std::ldexp(1.0, -exponent));
    share = static_cast<C>(std::ldexp(1.0, exponent) / static_cast<double>(length));
  }

#ifdef __CUDACC__
  __device__ __forceinline__ void add(C n, C h, C (&sums)[2]) const {
    h *= part;
    sums[0] += h;
    sums[1] += h * n;
  }
  struct Means {
    C all, along;
    /// a - b, for which the compiler takes a product a as rounded: b is a mean of rounded ones.
    static __device__ __forceinline__ float difference(float a, float b) { return __fsub_rn(a, b); }
    static __device__ __forceinline__ double difference(double a, double b) { return __dsub_rn(a, b); }
    __device__ __forceinline__ C gradient(const RowStatistics<C>& s, C n, C h) const {
      return (difference(h, all) - n * along) * s.inverse * s.unit;
    }
  };
  __device__ __forceinline__ Means means(const C (&sums)[2]) const {
    return {centred ? sums[0] * share : C(0), sums[1] * share};
  }
#endif
};

}  // namespace bobbin::cuda
