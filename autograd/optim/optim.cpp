// The optimizers: their state, and the numbers that their update rules get at each step.

#include <cmath>

#include "autograd/optim/apply.h"

namespace bobbin::optim {

Sgd::Sgd(Parameters p, const SgdOptions& o) : Optimizer(std::move(p), o.lr, o.weight_decay), options_(o) {
  require_fraction("Sgd", "momentum", o.momentum);
  if (o.momentum != 0) momentum_ = &keep("momentum_buffer");
}

void Sgd::update(std::span<const Part> parts) {
  if (!momentum_)
    return apply<SgdRule>(parts, {}, [this]<class T>(Type<T>, std::size_t group, std::size_t) {
      return SgdRule<T>{.rate = static_cast<T>(rate(group)), .decay = static_cast<T>(decay(group))};
    });
  apply<MomentumRule>(parts, {momentum_}, [this]<class T>(Type<T>, std::size_t group, std::size_t) {
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
      square_(keep("exp_avg_sq")) {
  require_fraction("Adam", "beta1", o.beta1);
  require_fraction("Adam", "beta2", o.beta2);
  require_not_negative("Adam", "eps", o.eps);
  count_steps();
}
AdamW::AdamW(Parameters p, const AdamWOptions& o)
    : Adam(std::move(p), {o.lr, o.beta1, o.beta2, o.eps, o.weight_decay}, true) {}

void Adam::update(std::span<const Part> parts) {
  apply<AdamRule>(
      parts, {&mean_, &square_}, [this]<class T>(Type<T>, std::size_t group, std::size_t parameter) {
        const double t = static_cast<double>(steps(parameter));
        return AdamRule<T>{.c1 = static_cast<T>(1 - options_.beta1),
                           .c2 = static_cast<T>(1 - options_.beta2),
                           .eps = static_cast<T>(options_.eps),
                           .decay = static_cast<T>(decoupled_ ? 0 : decay(group)),
                           .shrink = static_cast<T>(decoupled_ ? rate(group) * decay(group) : 0),
                           .rate = static_cast<T>(rate(group) / (1 - std::pow(options_.beta1, t))),
                           .unbias = static_cast<T>(1 / std::sqrt(1 - std::pow(options_.beta2, t)))};
      });
}

RmsProp::RmsProp(Parameters p, const RmsPropOptions& o)
    : Optimizer(std::move(p), o.lr, o.weight_decay), options_(o), square_(keep("square_avg")) {
  require_fraction("RmsProp", "alpha", o.alpha);
  require_fraction("RmsProp", "momentum", o.momentum);
  require_not_negative("RmsProp", "eps", o.eps);
  if (o.momentum != 0) momentum_ = &keep("momentum_buffer");
}

void RmsProp::update(std::span<const Part> parts) {
  if (!momentum_)
    return apply<RmsPropRule>(parts, {&square_}, [this]<class T>(Type<T>, std::size_t group, std::size_t) {
      return RmsPropRule<T>{static_cast<T>(rate(group)), static_cast<T>(decay(group)),
                            static_cast<T>(1 - options_.alpha), static_cast<T>(options_.eps)};
    });
  apply<RmsPropMomentumRule>(
      parts, {&square_, momentum_}, [this]<class T>(Type<T>, std::size_t group, std::size_t) {
        return RmsPropMomentumRule<T>{static_cast<T>(rate(group)), static_cast<T>(decay(group)),
                                      static_cast<T>(1 - options_.alpha), static_cast<T>(options_.eps),
                                      static_cast<T>(options_.momentum)};
      });
}

Adagrad::Adagrad(Parameters p, const AdagradOptions& o)
    : Optimizer(std::move(p), o.lr, o.weight_decay),
      options_(o),
      sum_(keep("sum", o.initial_accumulator_value)) {
  require_not_negative("Adagrad", "lr_decay", o.lr_decay);
  require_not_negative("Adagrad", "initial_accumulator_value", o.initial_accumulator_value);
  require_not_negative("Adagrad", "eps", o.eps);
  count_steps();
}

void Adagrad::update(std::span<const Part> parts) {
  apply<AdagradRule>(parts, {&sum_}, [this]<class T>(Type<T>, std::size_t group, std::size_t parameter) {
    const double earlier = static_cast<double>(steps(parameter) - 1);
    return AdagradRule<T>{static_cast<T>(rate(group) / (1 + earlier * options_.lr_decay)),
                          static_cast<T>(decay(group)), static_cast<T>(options_.eps)};
  });
}

Lion::Lion(Parameters p, const LionOptions& o)
    : Optimizer(std::move(p), o.lr, o.weight_decay), options_(o), mean_(keep("exp_avg")) {
  require_fraction("Lion", "beta1", o.beta1);
  require_fraction("Lion", "beta2", o.beta2);
}

void Lion::update(std::span<const Part> parts) {
  apply<LionRule>(parts, {&mean_}, [this]<class T>(Type<T>, std::size_t group, std::size_t) {
    return LionRule<T>{static_cast<T>(rate(group)), static_cast<T>(rate(group) * decay(group)),
                       static_cast<T>(1 - options_.beta1), static_cast<T>(1 - options_.beta2)};
  });
}

}  // namespace bobbin::optim
