// Where the marks of an axis are, and their labels.
#include "autograd/plot/ticks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace bobbin::plot::detail {
namespace {

/// The smallest of 1, 2, 5, 10 times a power of ten that is not below `rough`.
double round_step(double rough) {
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

/// "1.5e+07" as "1.5e7".
std::string tidy_exponent(std::string text) {
  const auto e = text.find('e');
  if (e == std::string::npos) return text;
  const bool minus = text[e + 1] == '-';
  auto digits = text.find_first_not_of("+-0", e + 1);
  if (digits == std::string::npos) return text.substr(0, e);
  return text.substr(0, e + 1) + (minus ? "-" : "") + text.substr(digits);
}

std::string label(double value, double step, double largest) {
  const int step_power = static_cast<int>(std::floor(std::log10(step) + 1e-9));
  if (value == 0) return "0";
  if (largest >= 1e6 || step < 1e-4) {
    const int power = static_cast<int>(std::floor(std::log10(std::abs(value)) + 1e-9));
    return tidy_exponent(fmt::format("{:.{}e}", value, std::clamp(power - step_power, 0, 12)));
  }
  return fmt::format("{:.{}f}", value, std::max(0, -step_power));
}

}  // namespace

Ticks make_ticks(double low, double high, const TickStyle& style) {
  const double largest = std::max(std::abs(low), std::abs(high));
  if (high - low <= largest * 1e-9 || high - low < 1e-290) {
    const double spread = std::max(largest * 0.1, largest < 1e-280 ? 1.0 : 0.0);
    low -= spread;
    high += spread;
  }
  double step = round_step((high - low) / std::max(style.wanted, 1));
  if (style.whole) step = std::max(step, 1.0);

  Ticks ticks{low, high, {}, {}};
  if (style.extend_low) ticks.low = std::floor(low / step + 1e-9) * step;
  if (style.extend_high) ticks.high = std::ceil(high / step - 1e-9) * step;
  const double first = std::ceil(ticks.low / step - 1e-9), last = std::floor(ticks.high / step + 1e-9);
  for (double k = first; k <= last; ++k) {
    const double value = k * step;
    ticks.at.push_back(value);
    ticks.labels.push_back(label(value, step, std::max(std::abs(ticks.low), std::abs(ticks.high))));
  }
  return ticks;
}

std::string short_number(double value, int digits) {
  return tidy_exponent(fmt::format("{:.{}g}", value == 0 ? 0.0 : value, digits));
}

}  // namespace bobbin::plot::detail
