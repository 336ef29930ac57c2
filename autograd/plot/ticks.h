// Round numbers along an axis. Internal to the plot library.
#pragma once
#include <string>
#include <vector>

namespace bobbin::plot::detail {

/// An axis from `low` to `high` with labelled marks on it.
struct Ticks {
  double low = 0, high = 1;
  std::vector<double> at;
  std::vector<std::string> labels;

  /// Where `value` lies on the axis: 0 at low, 1 at high.
  double share(double value) const { return (value - low) / (high - low); }
};

struct TickStyle {
  int wanted = 6;                                ///< about this many marks
  bool extend_low = false, extend_high = false;  ///< move this end outwards to a mark
  bool whole = false;                            ///< marks at whole numbers only
};

/// Marks at multiples of 1, 2 or 5 times a power of ten. Needs finite ends of magnitude 1e300 at most;
/// ends that (nearly) coincide are moved apart.
Ticks make_ticks(double low, double high, const TickStyle& style);

/// A number as text: at most `digits` significant digits, no trailing zeros.
std::string short_number(double value, int digits = 4);

}  // namespace bobbin::plot::detail
