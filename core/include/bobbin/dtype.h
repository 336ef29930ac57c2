// Element types: the enumeration DType, the two 16-bit floating-point types, and the dispatch from a DType to
// a C++ type.
#pragma once
#include <bit>
#include <cstdint>
#include <iosfwd>
#include <string_view>
#include <type_traits>
#include <utility>

/// Makes a function callable on the GPU too, if nvcc compiles it.
#ifdef __CUDACC__
#define BOBBIN_HD __host__ __device__
#else
#define BOBBIN_HD
#endif

namespace bobbin {

/// Element types. `boolean` takes one byte, as u8 does.
enum class DType : std::uint8_t {
  f64,      ///< double
  f32,      ///< float
  bf16,     ///< BFloat16
  f16,      ///< Half
  i64,      ///< std::int64_t
  i32,      ///< std::int32_t
  u8,       ///< std::uint8_t
  boolean,  ///< bool
};

/// The name: "f64", "f32", "bf16", "f16", "i64", "i32", "u8", "bool".
std::string_view name(DType);
/// Writes name().
std::ostream& operator<<(std::ostream&, DType);

/// Bytes of one element.
constexpr std::int64_t size_of(DType d) {
  switch (d) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
    case DType::f16:
      return 2;
    default:
      return 1;
  }
}

/// Whether d is f64, f32, bf16 or f16.
constexpr bool is_floating(DType d) { return d <= DType::f16; }

/// bfloat16: the upper half of a float. Conversion rounds to nearest even; NaN stays NaN.
struct BFloat16 {
  std::uint16_t bits = 0;  ///< the stored bits
  /// Zero.
  BFloat16() = default;
  /// The nearest to x, ties to even.
  BOBBIN_HD constexpr explicit BFloat16(float x) : bits(round(std::bit_cast<std::uint32_t>(x))) {}
  /// The same number; exact.
  BOBBIN_HD constexpr operator float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

 private:
  BOBBIN_HD static constexpr std::uint16_t round(std::uint32_t u) {
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    return static_cast<std::uint16_t>(nan ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
};

/// IEEE binary16. Conversion rounds to nearest even, overflows to infinity and keeps subnormals.
struct Half {
  std::uint16_t bits = 0;  ///< the stored bits
  /// Zero.
  Half() = default;
  /// The nearest to x, ties to even; infinite from 65520.
  BOBBIN_HD constexpr explicit Half(float x) : bits(round(x)) {}
  /// The same number; exact.
  BOBBIN_HD constexpr operator float() const { return widen(bits); }

 private:
  // Scales by powers of two, so that the FPU rounds (after F. Giesen, "float->half variants").
  BOBBIN_HD static constexpr std::uint16_t round(float x) {
    const auto u = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t sign = (u >> 16) & 0x8000u, mag = u & 0x7fffffffu;
    if (mag > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);   // NaN
    if (mag >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // rounds past 65504
    if (mag < 0x38800000u) {  // subnormal: adding 0.5 aligns the last bit of the result with a float's
      const float f = std::bit_cast<float>(mag) + 0.5f;
      return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(f) - 0x3f000000u));
    }
    return static_cast<std::uint16_t>(sign | ((mag - 0x38000000u + 0xfffu + ((mag >> 13) & 1u)) >> 13));
  }
  BOBBIN_HD static constexpr float widen(std::uint16_t h) {
    const std::uint32_t sign = std::uint32_t{h & 0x8000u} << 16, mag = h & 0x7fffu;
    if (mag >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | (mag & 0x3ffu) << 13);
    // The factor 2^112 changes the exponent bias from 15 to 127, and makes subnormals normal.
    const float f = std::bit_cast<float>(mag << 13) * 0x1p112f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(f));
  }
};

/// Whether T is BFloat16 or Half.
template<class T>
inline constexpr bool is_16bit_float = std::is_same_v<T, BFloat16> || std::is_same_v<T, Half>;

/// The DType of a C++ element type.
template<class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, double>)
    return DType::f64;
  else if constexpr (std::is_same_v<T, float>)
    return DType::f32;
  else if constexpr (std::is_same_v<T, BFloat16>)
    return DType::bf16;
  else if constexpr (std::is_same_v<T, Half>)
    return DType::f16;
  else if constexpr (std::is_same_v<T, bool>)
    return DType::boolean;
  else if constexpr (std::is_integral_v<T> && std::is_signed_v<T> && sizeof(T) == 8)
    return DType::i64;
  else if constexpr (std::is_integral_v<T> && std::is_signed_v<T> && sizeof(T) == 4)
    return DType::i32;
  else {
    static_assert(std::is_same_v<T, std::uint8_t>, "no DType holds this element type");
    return DType::u8;
  }
}

/// A C++ type that dtype_of accepts.
template<class T>
concept Element = std::is_same_v<T, double> || std::is_same_v<T, float> || is_16bit_float<T> ||
    std::is_same_v<T, bool> || std::is_same_v<T, std::uint8_t> ||
    (std::is_integral_v<T>&& std::is_signed_v<T> && sizeof(T) >= 4);

/// Passes a C++ type to a generic lambda; see visit.
template<class T>
struct Type {
  using type = T;  ///< the type that is passed
};

/// Calls f(Type<T>{}) with the C++ type of d, one of T...: visit_some<float, double>(d, f) compiles f for
/// these two types only. Any other d counts as the last type.
template<class T, class... Rest, class F>
[[gnu::always_inline]] constexpr decltype(auto) visit_some(DType d, F&& f) {
  if constexpr (sizeof...(Rest) > 0)
    if (d != dtype_of<T>()) return visit_some<Rest...>(d, static_cast<F&&>(f));
  return f(Type<T>{});
}

/// The same for all element types: `visit(d, [&]<class T>(Type<T>) { ... })`.
template<class F>
constexpr decltype(auto) visit(DType d, F&& f) {
  return visit_some<double, float, BFloat16, Half, std::int64_t, std::int32_t, std::uint8_t, bool>(
      d, static_cast<F&&>(f));
}

}  // namespace bobbin
