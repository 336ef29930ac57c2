// Oracle A: derivatives by finite differences that know how far they can be trusted.
#pragma once
#include <functional>
#include <span>
#include <vector>

namespace bobbin::gradcheck_detail {

/// All outputs, flat, at a value of the one number that is varied.
using Along = std::function<std::vector<double>(double)>;

/// What differences say of a derivative.
struct Slope {
  enum class Kind { smooth, kink } kind = Kind::smooth;
  double value = 0;     ///< at a kink: of the left side and
  double right = 0;     ///< of the right side
  double error = 0;     ///< estimated, of each
  double scale = 0;     ///< the largest of |value|, the terms it is the difference of by x's own, and f
  double rounding = 0;  ///< what rounding may have done to a right derivative
  double tolerance() const { return 16 * error + rounding; }
  bool settled() const { return error <= 1e-9 * scale; }
};

/// Slopes of sum_k v[k] y[k] at x, one a cotangent v, from three steps.
std::vector<Slope> quick_slopes(const Along&, double x, std::span<const std::vector<double>> v);
/// The same from twelve, and from either side where those settle nowhere: y is the value at x.
std::vector<Slope> careful_slopes(const Along&, double x, std::span<const double> y,
                                  std::span<const std::vector<double>> v);

}  // namespace bobbin::gradcheck_detail
