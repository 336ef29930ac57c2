// The optimizers: their state, and the numbers that their update rules get at each step.

#include <cmath>

#include "autograd/optim/apply.h"

namespace bobbin::optim {

Sgd::Sgd(Parameters p, const SgdOptions& o) : Optimizer(std::move(p), o.lr, o.weight_decay), options_(o) {
  if (o.momentum != 0) momentum_ = &keep("momentum_buffer");
}

void Sgd::update(std::span<const Part> parts) {
  if (!momentum_)
    return apply<SgdRule>(parts, {}, [this]<class T>(Type<T>, std::size_t group) {
      return SgdRule<T>{.rate = static_cast<T>(rate(group)), .decay = static_cast<T>(decay(group))};
    });
  apply<MomentumRule>(parts, {momentum_}, [this]<class T>(Type<T>, std::size_t group) {
    return MomentumRule<T>{.rate = static_cast<T>(rate(group)),
                           .decay = static_cast<T>(decay(group)),
                           .mu = static_cast<T>(options_.momentum),
                           .nesterov = options_.nesterov};
  });
}

Adam::Adam(Parameters p, const AdamOptions& o) : Adam(std::move(p), o, false) {}
Adam::Adam(Parameters p, const AdamOptions& o, bool decoupled)
    : Optimizer(std::move(p), o.lr, o.weight_decay),
      options_(o),
      decoupled_(decoupled),
      mean_(keep("exp_avg")),
      square_(keep("exp_avg_sq")) {}
AdamW::AdamW(Parameters p, const AdamWOptions& o)
    : Adam(std::move(p), {o.lr, o.beta1, o.beta2, o.eps, o.weight_decay}, true) {}

void Adam::update(std::span<const Part> parts) {
  apply<AdamRule>(parts, {&mean_, &square_}, [this]<class T>(Type<T>, std::size_t group) {
    const double t = static_cast<double>(steps());
    return AdamRule<T>{.b1 = static_cast<T>(options_.beta1),
                       .b2 = static_cast<T>(options_.beta2),
                       .eps = static_cast<T>(options_.eps),
                       .decay = static_cast<T>(decoupled_ ? 0 : decay(group)),
                       .keep = static_cast<T>(decoupled_ ? 1 - rate(group) * decay(group) : 1),
                       .rate = static_cast<T>(rate(group) / (1 - std::pow(options_.beta1, t))),
                       .unbias = static_cast<T>(1 / std::sqrt(1 - std::pow(options_.beta2, t)))};
  });
}

RmsProp::RmsProp(Parameters p, const RmsPropOptions& o)
    : Optimizer(std::move(p), o.lr, o.weight_decay), options_(o), square_(keep("square_avg")) {
  if (o.momentum != 0) momentum_ = &keep("momentum_buffer");
}

void RmsProp::update(std::span<const Part> parts) {
  if (!momentum_)
    return apply<RmsPropRule>(parts, {&square_}, [this]<class T>(Type<T>, std::size_t group) {
      return RmsPropRule<T>{static_cast<T>(rate(group)), static_cast<T>(decay(group)),
                            static_cast<T>(options_.alpha), static_cast<T>(options_.eps)};
    });
  apply<RmsPropMomentumRule>(parts, {&square_, momentum_}, [this]<class T>(Type<T>, std::size_t group) {
    return RmsPropMomentumRule<T>{static_cast<T>(rate(group)), static_cast<T>(decay(group)),
                                  static_cast<T>(options_.alpha), static_cast<T>(options_.eps),
                                  static_cast<T>(options_.momentum)};
  });
}

Adagrad::Adagrad(Parameters p, const AdagradOptions& o)
    : Optimizer(std::move(p), o.lr, o.weight_decay),
      options_(o),
      sum_(keep("sum", o.initial_accumulator_value)) {}

void Adagrad::update(std::span<const Part> parts) {
  apply<AdagradRule>(parts, {&sum_}, [this]<class T>(Type<T>, std::size_t group) {
    const double slowed = rate(group) / (1 + static_cast<double>(steps() - 1) * options_.lr_decay);
    return AdagradRule<T>{static_cast<T>(slowed), static_cast<T>(decay(group)), static_cast<T>(options_.eps)};
  });
}

Lion::Lion(Parameters p, const LionOptions& o)
    : Optimizer(std::move(p), o.lr, o.weight_decay), options_(o), mean_(keep("exp_avg")) {}

void Lion::update(std::span<const Part> parts) {
  apply<LionRule>(parts, {&mean_}, [this]<class T>(Type<T>, std::size_t group) {
    return LionRule<T>{static_cast<T>(rate(group)), static_cast<T>(1 - rate(group) * decay(group)),
                       static_cast<T>(options_.beta1), static_cast<T>(options_.beta2)};
  });
}

}  // namespace bobbin::optim
