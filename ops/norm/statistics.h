// The mean and the deviation of a row or of a channel, as the kernels of the normalisations keep them.
#pragma once
#include <bobbin/dtype.h>

#include <bit>
#include <cmath>
#include <limits>

namespace bobbin {

/// What normalises an element. The mean is kept in two parts, because one number of type C cannot hold the
/// mean of numbers far from 0 to a fraction of their deviation. `unit` is a power of two, which keeps what is
/// computed near 1: it is 1 unless the deviation is above 2^32 or below 2^-32.
template<class C>
struct alignas(16) RowStatistics {
  C shift;    ///< unit times a number near the mean
  C rest;     ///< unit times the mean, less shift
  C inverse;  ///< 1 / sqrt(variance + eps) / unit
  C unit;

  /// (x - mean) / sqrt(variance + eps)
  BOBBIN_HD C normal(C x) const { return ((x * unit - shift) - rest) * inverse; }
};

/// Statistics from sums in f64: with d = unit x - shift, `total` is the sum of d, `squares` that of d^2.
/// `share` is 1 / (number of elements), and `eps` what is added to the variance of unit x. NaN if a sum is
/// not finite.
template<class C>
BOBBIN_HD RowStatistics<C> statistics(double shift, double total, double squares, double share, double eps,
                                      double unit = 1) {
  const double mean = total * share, spread = squares * share - mean * mean;
  const double v = (spread < 0 ? 0 : spread) + eps;  // rounding may make it negative; NaN stays
  if (v > 0x1p-64 && v < 0x1p64)
    return {static_cast<C>(shift), static_cast<C>(mean), 1 / std::sqrt(static_cast<C>(v)),
            static_cast<C>(unit)};
  if (!(v <= std::numeric_limits<double>::max())) {
    constexpr C nan = std::numeric_limits<C>::quiet_NaN();
    return {nan, nan, nan, 1};
  }
  // by = 2^-(exponent of v / 2), so far as C holds unit * by
  constexpr double limit = sizeof(C) == 8 ? 0x1p1000 : 0x1p120;
  const int exponent = static_cast<int>(std::bit_cast<std::uint64_t>(v) >> 52) - 1023;
  double by = std::bit_cast<double>(static_cast<std::uint64_t>(1023 - exponent / 2) << 52);
  if (by > limit / unit) by = limit / unit;
  if (by < 1 / limit / unit) by = 1 / limit / unit;
  return {static_cast<C>(shift * by), static_cast<C>(mean * by), static_cast<C>(1 / (std::sqrt(v) * by)),
          static_cast<C>(unit * by)};
}

/// The median: of three elements of a row, a number near the mean even if one of them is far from all others.
template<class C>
BOBBIN_HD C median(C a, C b, C c) {
  const C low = a < b ? a : b, high = a < b ? b : a;
  return c < low ? low : c < high ? c : high;
}

}  // namespace bobbin
