// The schedules: learning rates as functions of the step.
#include <bobbin/error.h>
#include <bobbin/schedule.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <numbers>

namespace bobbin::optim {
namespace {

void require(bool good, const char* schedule, const char* domain) {
  if (!good) fail<ValueError>(schedule, ": expected ", domain);
}

bool finite(std::initializer_list<double> all) {  // and not negative
  return std::ranges::all_of(all, [](double x) { return x >= 0 && std::isfinite(x); });
}

void require_step(const char* schedule, std::int64_t step) {
  if (step < 0) fail<ValueError>(schedule, ": expected a step >= 0; got ", step);
}

// Linear and Cosine.
template<class Schedule>
void require_warmed(const char* name, const Schedule& s) {
  require(finite({s.peak, s.end}) && s.warm_up >= 0 && s.steps >= 0, name,
          "finite rates >= 0, warm_up >= 0 and steps >= 0");
}

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
  require_step("StepDecay", step);
  require(finite({start, gamma}) && every >= 1, "StepDecay", "finite start and gamma >= 0 and every >= 1");
  return start * std::pow(gamma, static_cast<double>(step / every));
}

double Linear::operator()(std::int64_t step) const {
  require_step("Linear", step);
  require_warmed("Linear", *this);
  return step < warm_up ? warmed(peak, step, warm_up)
                        : peak + (end - peak) * part(step - warm_up, steps - warm_up);
}

double Cosine::operator()(std::int64_t step) const {
  require_step("Cosine", step);
  require_warmed("Cosine", *this);
  return step < warm_up ? warmed(peak, step, warm_up)
                        : cosine(peak, end, part(step - warm_up, steps - warm_up));
}

double OneCycle::operator()(std::int64_t step) const {
  require_step("OneCycle", step);
  require(finite({peak}) && steps >= 1 && warm_up >= 0 && warm_up <= 1, "OneCycle",
          "a finite peak >= 0, steps >= 1 and 0 <= warm_up <= 1");
  const double at = part(step, steps);
  if (at < warm_up) return cosine(peak / 25, peak, at / warm_up);
  return cosine(peak, 0, warm_up < 1 ? (at - warm_up) / (1 - warm_up) : 1);
}

double Plateau::operator()(double loss) {
  require(finite({rate, least, threshold}) && factor >= 0 && factor <= 1 && patience >= 0, "Plateau",
          "finite rate, least and threshold >= 0, 0 <= factor <= 1 and patience >= 0");
  // A fraction of the magnitude: of a negative loss, best (1 - threshold) is worse than best.
  const double margin = std::isfinite(best) ? threshold * std::abs(best) : 0;
  if (loss < best - margin) {
    best = loss;
    bad = 0;
  } else if (++bad > patience) {
    rate = std::max(rate * factor, least);
    bad = 0;
  }
  return rate;
}

}  // namespace bobbin::optim
