// The schedules: learning rates as functions of the step.
#include <bobbin/schedule.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace bobbin::optim {
namespace {

double part(std::int64_t step, std::int64_t steps) {
  return std::clamp(static_cast<double>(step) / static_cast<double>(std::max<std::int64_t>(1, steps)), 0.0,
                    1.0);
}
double cosine(double from, double to, double t) {
  return to + (from - to) * (1 + std::cos(std::numbers::pi * std::clamp(t, 0.0, 1.0))) / 2;
}

// Step 0 of a warm-up has the rate peak / warm_up, not 0.
double warmed(double peak, std::int64_t step, std::int64_t warm_up) { return peak * part(step + 1, warm_up); }

}  // namespace

double StepDecay::operator()(std::int64_t step) const {
  return start * std::pow(gamma, static_cast<double>(step / every));
}

double Linear::operator()(std::int64_t step) const {
  return step < warm_up ? warmed(peak, step, warm_up)
                        : peak + (end - peak) * part(step - warm_up, steps - warm_up);
}

double Cosine::operator()(std::int64_t step) const {
  return step < warm_up ? warmed(peak, step, warm_up)
                        : cosine(peak, end, part(step - warm_up, steps - warm_up));
}

double OneCycle::operator()(std::int64_t step) const {
  const double at = static_cast<double>(step) / static_cast<double>(std::max<std::int64_t>(1, steps));
  return at < warm_up ? cosine(peak / 25, peak, at / warm_up)
                      : cosine(peak, 0, (at - warm_up) / (1 - warm_up));
}

double Plateau::operator()(double loss) {
  if (loss < best * (1 - threshold)) {
    best = loss;
    bad = 0;
  } else if (++bad > patience) {
    rate = std::max(rate * factor, least);
    bad = 0;
  }
  return rate;
}

}  // namespace bobbin::optim
