// Oracle A: derivatives by finite differences, with an estimate of their error.
#pragma once
#include <functional>
#include <span>
#include <vector>

namespace bobbin::gradcheck_detail {

/// A function that returns all outputs, flat, for a value of the one element that is varied.
using Along = std::function<std::vector<double>(double)>;

/// A derivative by finite differences.
struct Slope {
  enum class Kind { smooth, kink } kind = Kind::smooth;
  double value = 0;     ///< at a kink, the derivative on the left side
  double right = 0;     ///< at a kink, the derivative on the right side
  double error = 0;     ///< the estimated error of each
  double scale = 0;     ///< the largest of |value|, |f|, and the differenced terms divided by the scale of x
  double rounding = 0;  ///< the largest rounding error of a right derivative
  double tolerance() const { return 16 * error + rounding; }
  bool settled() const { return error <= 1e-9 * scale; }
};

/// The slope of sum_k v[k] y[k] at x for each cotangent v, from three steps.
std::vector<Slope> quick_slopes(const Along&, double x, std::span<const std::vector<double>> v);
/// The same from twelve steps, and from each side separately, to find kinks: y holds the outputs at x.
std::vector<Slope> careful_slopes(const Along&, double x, std::span<const double> y,
                                  std::span<const std::vector<double>> v);

}  // namespace bobbin::gradcheck_detail
