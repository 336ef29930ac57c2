// The conversion of one element from any dtype to any other, for the CPU and the GPU.
#pragma once
#include <bobbin/dtype.h>

#include <bit>
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

/// x as a float that is exact, or has an odd last digit and lies next to x (rounding to odd). Rounded to 16
/// bits, it gives what x gives (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved
/// algorithms using rounding to odd", 2008).
BOBBIN_HD constexpr float to_odd_f32(double x) {
  const auto f = static_cast<float>(x);
  const auto back = static_cast<double>(f);
  const auto bits = std::bit_cast<std::uint32_t>(f);
  if (back == x || x != x || (bits & 1u) != 0) return f;
  const bool beyond = (back < 0 ? -back : back) > (x < 0 ? -x : x);
  return std::bit_cast<float>(beyond ? bits - 1u : bits + 1u);
}
/// The same for an integer.
BOBBIN_HD constexpr float to_odd_f32(std::int64_t x) {
  constexpr std::int64_t exact = std::int64_t{1} << 53;
  if (x >= -exact && x <= exact) return to_odd_f32(static_cast<double>(x));
  const std::int64_t high = (x >> 11) | static_cast<std::int64_t>((x & 0x7ff) != 0);
  return to_odd_f32(static_cast<double>(high) * 2048.0);
}

/// x as To, rounded once, to nearest even. To an integer dtype: fractions are cut off, numbers beyond the
/// range become its nearest end, and NaN becomes 0. Any dtype to bool is x != 0.
template<class To, class From>
BOBBIN_HD constexpr To cast(From x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else if constexpr (is_16bit_float<From>) {
    return cast<To>(to_f32(x));
  } else if constexpr (std::is_same_v<To, bool>) {
    return x != From(0);
  } else if constexpr (is_16bit_float<To>) {
    if constexpr (std::is_same_v<From, double> || sizeof(From) == 8)
      return from_f32<To>(to_odd_f32(x));
    else if constexpr (std::is_same_v<From, std::int32_t>)
      return from_f32<To>(to_odd_f32(static_cast<double>(x)));
    else
      return from_f32<To>(static_cast<float>(x));
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    constexpr From low = static_cast<From>(std::numeric_limits<To>::min());
    constexpr From high = static_cast<From>(std::numeric_limits<To>::max());
    if (x != x) return 0;
    if (x <= low) return std::numeric_limits<To>::min();
    if (x >= high) return std::numeric_limits<To>::max();
    return static_cast<To>(x);
  } else if constexpr (std::is_integral_v<From> && std::is_integral_v<To> && sizeof(To) < sizeof(From)) {
    constexpr From low = std::numeric_limits<To>::min(), high = std::numeric_limits<To>::max();
    return static_cast<To>(x < low ? low : x > high ? high : x);
  } else {
    return static_cast<To>(x);
  }
}

}  // namespace bobbin
