// Ema: a moving average of parameters.
#include <bobbin/elementwise.h>
#include <bobbin/state.h>
#include <bobbin/view.h>
#include <fmt/format.h>

#include "autograd/optim/apply.h"

namespace bobbin::optim {

Ema::Ema(std::vector<Tensor> parameters, double decay) : parameters_(std::move(parameters)), decay_(decay) {
  require_fraction("Ema", "decay", decay);
  require_editable("Ema", parameters_);
  for (auto& p : parameters_) averages_.push_back(clone(p.detach()));
}

void Ema::update() {
  std::vector<Optimizer::Part> parts;
  for (std::size_t i = 0; i < parameters_.size(); ++i) parts.push_back({i, 0, averages_[i], parameters_[i]});
  apply<BlendRule>(parts, {}, [c = 1 - decay_]<class T>(Type<T>, std::size_t, std::size_t) {
    return BlendRule<T>{static_cast<T>(c), static_cast<T>(-c)};
  });
}

void Ema::swap() {
  std::vector<Optimizer::Part> parts;
  for (std::size_t i = 0; i < parameters_.size(); ++i) parts.push_back({i, 0, parameters_[i], {}});
  apply<SwapRule>(parts, {&averages_},
                  []<class T>(Type<T>, std::size_t, std::size_t) { return SwapRule<T>{}; });
  for (auto& a : averages_) ++a.storage()->version;
}

StateDict Ema::state_dict() const {
  StateDict out;
  for (std::size_t i = 0; i < averages_.size(); ++i) out.emplace(fmt::format("average.{}", i), averages_[i]);
  return out;
}

void Ema::load_state_dict(const StateDict& from) { load_state("Ema", state_dict(), from); }

}  // namespace bobbin::optim
