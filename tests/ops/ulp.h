// Distances in units in the last place of a floating dtype, for results against closed forms in long double.
#pragma once
#include <bobbin/bobbin.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace bobbin::tests {

/// Digits after the point, and the exponent of the least normal number.
struct Format {
  int bits, least;
  int most() const { return 1 - least; }  ///< the exponent of the largest number
};
inline Format format_of(DType d) {
  switch (d) {
    case DType::f64:
      return {52, -1022};
    case DType::bf16:
      return {7, -126};
    case DType::f16:
      return {10, -14};
    default:
      return {23, -126};
  }
}

inline bool is_normal(long double x, DType d) {
  return x != 0 && std::isfinite(x) && std::ilogb(x) >= format_of(d).least &&
         std::ilogb(x) <= format_of(d).most();
}

/// |got - want| in units of d's last place at `want`; 0 if both are NaN, or both round to one infinity;
/// infinite if they differ otherwise. Subnormal numbers have the unit of the least normal one.
inline double ulps_apart(double got, long double want, DType d) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got) ? 0 : infinity;
  const Format f = format_of(d);
  const long double top = std::ldexp(2 - std::ldexp(1.0L, -f.bits), f.most());
  if (std::isinf(want) || std::isinf(got)) {
    const bool near_top = std::abs(want) >= top * (1 - std::ldexp(4.0L, -f.bits)) &&
                          std::abs(got) >= top * (1 - std::ldexp(4.0L, -f.bits));
    return near_top && std::signbit(got) == std::signbit(want) ? 0 : infinity;
  }
  const int exponent = want == 0 ? f.least : std::clamp(std::ilogb(want), f.least, f.most());
  return static_cast<double>(std::abs(got - want) * std::ldexp(1.0L, f.bits - exponent));
}

/// The numbers as they are in dtype d.
inline std::vector<double> rounded_to(const std::vector<double>& v, DType d) {
  return to(from_range(v), d).to_vector<double>();
}

}  // namespace bobbin::tests
