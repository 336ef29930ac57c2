// Central and one-sided differences, extrapolated, with estimates of truncation and rounding.
#include "autograd/gradcheck/oracles/finite_difference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace bobbin::gradcheck_detail {
namespace {

constexpr double u = 0x1p-53;
constexpr int coarsest = 4, finest = 15, quick_first = 6;  // steps are 2^-4 to 2^-15 of x

// A difference quotient of the weighted outputs, a bound on its rounding error, and the size of its terms.
struct Quotient {
  double value = 0, rounding = 0, terms = 0;
};

// Outputs that do not change add no rounding error.
Quotient quotient(std::span<const double> high, std::span<const double> low, std::span<const double> v,
                  double step, double noise = 0) {
  double difference = 0, magnitude = 0;
  for (std::size_t k = 0; k < v.size(); ++k) {
    if (high[k] == low[k]) continue;
    difference += v[k] * (high[k] - low[k]);
    magnitude += std::abs(v[k]) * (std::abs(high[k]) + std::abs(low[k]));
  }
  return {difference / step, (4 * u * magnitude + 8 * noise) / std::abs(step), magnitude};
}

double own_scale(double x) { return std::exp2(std::floor(std::log2(std::clamp(std::abs(x), 1e-3, 1.0)))); }

// Extrapolates twice (Richardson) from three quotients, each with half the step of the one before. `order` is
// the order of the quotients' error: 2 for central ones, 1 for one-sided ones.
Slope extrapolate(const Quotient& a, const Quotient& b, const Quotient& c, int order, double own) {
  const double p = order == 2 ? 4 : 2, q = order == 2 ? 16 : 4;
  const double r1 = (p * b.value - a.value) / (p - 1), r2 = (p * c.value - b.value) / (p - 1);
  const double t = (q * r2 - r1) / (q - 1);
  const double error = std::abs(t - r2) + c.rounding + 4 * u * std::abs(t);
  return {.value = t, .error = error, .scale = std::max(std::abs(t), c.terms / own)};
}

std::vector<std::vector<Quotient>> central(const Along& f, double x, int first, int last,
                                           std::span<const std::vector<double>> v,
                                           std::span<const double> noises = {}) {
  std::vector<std::vector<Quotient>> out(v.size());
  for (int e = first; e <= last; ++e) {
    const double h = std::ldexp(own_scale(x), -e), up = x + h, down = x - h;
    const auto high = f(up), low = f(down);
    for (std::size_t j = 0; j < v.size(); ++j)
      out[j].push_back(quotient(high, low, v[j], up - down, noises.empty() ? 0 : noises[j]));
  }
  return out;
}

std::vector<std::vector<Quotient>> one_sided(const Along& f, double x, std::span<const double> y, double side,
                                             std::span<const std::vector<double>> v,
                                             std::span<const double> noises) {
  std::vector<std::vector<Quotient>> out(v.size());
  for (int e = coarsest; e <= finest; ++e) {
    const double at = x + side * std::ldexp(own_scale(x), -e);
    const auto moved = f(at);
    for (std::size_t j = 0; j < v.size(); ++j) out[j].push_back(quotient(moved, y, v[j], at - x, noises[j]));
  }
  return out;
}

// Measures the noise of f: the scatter of neighbouring values about a smooth curve. Uses differences of
// fourth order of points that are much closer than any step (J. Moré, S. Wild, Estimating Computational
// Noise, SIAM J. Sci. Comput. 33, 2011). If digits cancel inside f, the noise is much larger than 4u|f|.
std::vector<double> noise(const Along& f, double x, std::span<const std::vector<double>> v) {
  constexpr int points = 9, middle = points / 2, order = 4;
  const double gamma = std::sqrt(1.0 / 70);  // (4!)^2 / 8!
  std::vector<double> out(v.size());
  // Two distances, neither a power of two: rounding errors of evenly spaced points may repeat.
  for (const double apart : {std::ldexp(1.37 * own_scale(x), -36), std::ldexp(1.19 * own_scale(x), -33)}) {
    std::vector<std::vector<double>> at;
    for (int i = 0; i < points; ++i) at.push_back(f(x + apart * (i - middle)));
    for (std::size_t j = 0; j < v.size(); ++j) {
      std::vector<double> t;
      for (auto& y : at) {
        double sum = 0;
        for (std::size_t k = 0; k < y.size(); ++k) sum += v[j][k] * (y[k] - at[0][k]);
        t.push_back(sum);
      }
      for (int k = 0; k < order; ++k)
        for (std::size_t i = 0; i + 1 < t.size(); ++i) t[i] = t[i + 1] - t[i];
      for (int i = 0; i < points - order; ++i) out[j] = std::max(out[j], gamma * std::abs(t[i]));
    }
  }
  return out;
}

// Extrapolates from every three consecutive quotients, and takes the result with the least estimated error.
// The differences to the neighbouring results raise the estimate: if rounding dominates, the error of the
// next result is twice as large, and that of the one after it four times; if truncation dominates, the error
// of the one before is much larger.
Slope best(const std::vector<Quotient>& d, int order, double own) {
  std::vector<Slope> all;
  for (std::size_t i = 0; i + 2 < d.size(); ++i)
    all.push_back(extrapolate(d[i], d[i + 1], d[i + 2], order, own));
  Slope least{.error = std::numeric_limits<double>::infinity()};
  for (std::size_t i = 0; i < all.size(); ++i) {
    Slope s = all[i];
    const auto heed = [&](std::size_t other, double share) {
      if (other < all.size()) s.error = std::max(s.error, std::abs(s.value - all[other].value) * share);
    };
    heed(i - 1, 1.0 / 64);
    heed(i + 1, 1.0 / 8);
    heed(i + 2, 1.0 / 16);
    if (s.error < least.error) least = s;
  }
  return least;
}

}  // namespace

std::vector<Slope> quick_slopes(const Along& f, double x, std::span<const std::vector<double>> v) {
  const auto d = central(f, x, quick_first, quick_first + 2, v);
  std::vector<Slope> out;
  for (auto& q : d) out.push_back(extrapolate(q[0], q[1], q[2], 2, own_scale(x)));
  return out;
}

std::vector<Slope> careful_slopes(const Along& f, double x, std::span<const double> y,
                                  std::span<const std::vector<double>> v) {
  const auto noises = noise(f, x, v);
  const auto d = central(f, x, coarsest, finest, v, noises);
  const double own = own_scale(x);
  std::vector<Slope> out;
  for (auto& q : d) out.push_back(best(q, 2, own));
  // A bound on the rounding error of the derivative under test, if the outputs do not depend on x at all.
  double most = 0;
  for (const double value : y) most = std::max(most, std::isfinite(value) ? std::abs(value) : 0);
  for (std::size_t j = 0; j < out.size(); ++j) {
    out[j].scale = std::max(out[j].scale, most);
    double all = 0;
    for (std::size_t k = 0; k < y.size(); ++k) all += std::abs(v[j][k] * y[k]);
    out[j].rounding = std::isfinite(all) ? 16 * u * all / own : 0;
  }
  // Central differences converge at kinks, too: to the mean of the two sides.
  const auto lower = one_sided(f, x, y, -1, v, noises), upper = one_sided(f, x, y, 1, v, noises);
  for (std::size_t j = 0; j < out.size(); ++j) {
    const Slope left = best(lower[j], 1, own), right = best(upper[j], 1, own);
    // At a kink, the sides differ by much more than their errors.
    if (!(std::abs(left.value - right.value) > 1e3 * (left.error + right.error))) continue;
    out[j] = {Slope::Kind::kink,
              left.value,
              right.value,
              std::max(left.error, right.error),
              std::max(left.scale, right.scale),
              out[j].rounding};
  }
  return out;
}

}  // namespace bobbin::gradcheck_detail
