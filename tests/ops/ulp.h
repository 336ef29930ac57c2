// Distances in units in the last place of a floating dtype, for results against closed forms in long double.
#pragma once
#include <bobbin/bobbin.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/gradcheck/precision/tolerance.h"

namespace bobbin::tests {

using gradcheck_detail::format, gradcheck_detail::Format;

inline bool is_normal(long double x, DType d) {
  return x != 0 && std::isfinite(x) && std::ilogb(x) >= format(d).least && std::ilogb(x) <= format(d).most();
}

/// |got - want| in units of d's last place at `want`; 0 if both are NaN, or both round to one infinity;
/// infinite if they differ otherwise. Subnormal numbers have the unit of the least normal one.
inline double ulps_apart(double got, long double want, DType d) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got) ? 0 : infinity;
  const Format f = format(d);
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
