// The conversion of one element from any dtype to any other, for the CPU and the GPU.
#pragma once
#include <bobbin/dtype.h>

#include <limits>
#include <type_traits>
#ifdef __CUDACC__
#include "core/cuda/pack.cuh"
#endif

namespace bobbin {

/// A 16-bit float as f32; exact.
template<class T>
BOBBIN_HD constexpr float to_f32(T x) {
#ifdef __CUDA_ARCH__
  return cuda::widen<T>(x);
#else
  return static_cast<float>(x);
#endif
}
/// The 16-bit float nearest to x, ties to even.
template<class T>
BOBBIN_HD constexpr T from_f32(float x) {
#ifdef __CUDA_ARCH__
  return cuda::narrow<T>(x);
#else
  return T(x);
#endif
}

/// x as To, rounded to nearest even. Floating to integer truncates, saturates, and converts NaN to 0; any
/// dtype to bool is x != 0; conversions to a 16-bit float go through f32.
template<class To, class From>
BOBBIN_HD constexpr To cast(From x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else if constexpr (is_16bit_float<From>) {
    return cast<To>(to_f32(x));
  } else if constexpr (std::is_same_v<To, bool>) {
    return x != From(0);
  } else if constexpr (is_16bit_float<To>) {
    return from_f32<To>(static_cast<float>(x));
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    constexpr From low = static_cast<From>(std::numeric_limits<To>::min());
    constexpr From high = static_cast<From>(std::numeric_limits<To>::max());
    if (x != x) return 0;
    if (x <= low) return std::numeric_limits<To>::min();
    if (x >= high) return std::numeric_limits<To>::max();
    return static_cast<To>(x);
  } else {
    return static_cast<To>(x);
  }
}

}  // namespace bobbin
