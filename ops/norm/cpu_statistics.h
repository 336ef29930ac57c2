// What the CPU kernels of the normalisations share: normalising a vector, and the scale of extreme rows.
#pragma once
#include <algorithm>
#include <cmath>

#include "ops/cpu/vectors.h"
#include "ops/norm/statistics.h"

namespace bobbin {

/// RowStatistics::normal of a vector.
template<class T>
struct Normal {
  using Vector = simd::Vector<T>;
  Vector unit, shift, rest, inverse;
  explicit Normal(const RowStatistics<T>& s)
      : unit(Vector::all(s.unit)),
        shift(Vector::all(s.shift)),
        rest(Vector::all(s.rest)),
        inverse(Vector::all(s.inverse)) {}
  Vector operator()(const Vector& x) const { return ((x * unit - shift) - rest) * inverse; }
};

/// The power of two by which elements of magnitude up to `most` are multiplied, so that f64 holds sums of
/// their squares: 1 for T = float, whose squares it holds as they are.
template<class T>
double unit_of(double most, double eps) {
  if (sizeof(T) < 8 || most == 0) return 1;
  int exponent = -std::ilogb(most);
  if (eps > 0) exponent = std::min(exponent, 400 - std::ilogb(eps) / 2);  // eps unit^2 stays finite
  return std::ldexp(1.0, std::clamp(exponent, -1000, 1000));
}

}  // namespace bobbin
