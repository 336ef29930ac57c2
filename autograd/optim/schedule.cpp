#include <bobbin/schedule.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace bobbin::optim {

double OneCycle::operator()(std::int64_t step) const {
  const double at = static_cast<double>(step) / static_cast<double>(std::max<std::int64_t>(1, steps));
  const auto cosine = [](double from, double to, double t) {
    return to + (from - to) * (1 + std::cos(std::numbers::pi * std::clamp(t, 0.0, 1.0))) / 2;
  };
  return at < warm_up ? cosine(peak / 25, peak, at / warm_up)
                      : cosine(peak, 0, (at - warm_up) / (1 - warm_up));
}

}  // namespace bobbin::optim
