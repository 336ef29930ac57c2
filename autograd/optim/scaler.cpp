// GradScaler: a scale of the loss for 16-bit gradients.
#include <bobbin/elementwise.h>
#include <bobbin/optim.h>
#include <bobbin/state.h>
#include <bobbin/tape.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/optim/gradients.h"

namespace bobbin::optim {

void GradScaler::require_options() const {
  if (!(scale_factor >= least && scale_factor <= most))
    fail<ValueError>("GradScaler: expected a scale_factor in [2^-24, 2^64]; got ", scale_factor);
  if (patience < 1) fail<ValueError>("GradScaler: expected patience >= 1; got ", patience);
}

Tensor GradScaler::scale(const Tensor& loss) const {
  require_options();
  return loss * scale_factor;
}

bool GradScaler::step(Optimizer& optimizer) {
  require_options();
  const NoGrad quiet;
  const auto scaled = gradients(optimizer.parameters());
  // The largest magnitude, not the norm: squares of finite numbers may sum to infinity.
  if (!scaled.empty() && !std::isfinite(total_norm(scaled, std::numeric_limits<double>::infinity()).item())) {
    scale_factor = std::max(scale_factor / 2, least);
    good_ = 0;
    return false;
  }
  std::vector<Tensor> divided;
  for (auto& g : scaled) divided.push_back(g.grad / scale_factor);
  const auto give = [&](auto&& grad) {
    for (std::size_t i = 0; i < scaled.size(); ++i) Tensor(scaled[i].parameter).set_grad(grad(i));
  };
  give([&](std::size_t i) { return divided[i]; });
  try {
    optimizer.step();
  } catch (...) {
    give([&](std::size_t i) { return scaled[i].grad; });
    throw;
  }
  if (++good_ < patience) return true;
  scale_factor = std::min(scale_factor * 2, most);
  good_ = 0;
  return true;
}

StateDict GradScaler::state_dict() const {
  return {{"scale", tensor(scale_factor, DType::f64)},
          {"growth_tracker", from_range(std::vector{good_}, Shape{})}};
}

void GradScaler::load_state_dict(const StateDict& from) {
  check_state("GradScaler", state_dict(), from);
  GradScaler loaded = *this;
  loaded.scale_factor = from.at("scale").item();
  loaded.good_ = from.at("growth_tracker").item<std::int64_t>();
  if (!(loaded.scale_factor >= least && loaded.scale_factor <= most) || loaded.good_ < 0)
    fail<FormatError>("GradScaler: the state does not fit: 'scale' is ", loaded.scale_factor,
                      ", 'growth_tracker' is ", loaded.good_);
  *this = loaded;
}

}  // namespace bobbin::optim
