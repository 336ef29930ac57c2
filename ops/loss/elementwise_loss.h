// Losses that compare prediction and target element by element; the public functions reduce them.
#pragma once
#include "ops/elementwise/binary.h"
#include "ops/wide.h"

namespace bobbin {

/// sum_back for gradients that are computed in the compute type: rounds them to the loss's dtype at the end.
template<class... G>
Grads sum_back_wide(const Vjp& v, const G&... gradients) {
  Grads g = sum_back(v, gradients...);
  for (Tensor& x : g)
    if (x) x = to(x, v.grad.dtype());
  return g;
}

struct SquaredError : Binary<SquaredError, fn::SquaredError> {
  static constexpr std::string_view name = "mse_loss";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    const Tensor slope = wide(v.grad) * (wide(v.input(0)) - wide(v.input(1))) * 2;
    return sum_back_wide(
        v, [&] { return slope; }, [&] { return -slope; });
  }
  static std::vector<Sample> samples();
};

struct AbsoluteError : Binary<AbsoluteError, fn::AbsoluteError> {
  static constexpr std::string_view name = "l1_loss";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    const Tensor slope = wide(v.grad) * sign(wide(v.input(0)) - wide(v.input(1)));
    return sum_back_wide(
        v, [&] { return slope; }, [&] { return -slope; });
  }
  static std::vector<Sample> samples();
};

struct Huber : Binary<Huber, fn::Huber> {
  static constexpr std::string_view name = "huber_loss";
  static constexpr Saves saves = Saves::inputs;
  TensorSpec infer(Inputs x) const {
    if (!(f.delta > 0)) fail<ValueError>(name, ": expected delta > 0; got ", f.delta);
    return Binary::infer(x);
  }
  Grads vjp(const Vjp& v) const {
    const Tensor slope = wide(v.grad) * clamp(wide(v.input(0)) - wide(v.input(1)), -f.delta, f.delta);
    return sum_back_wide(
        v, [&] { return slope; }, [&] { return -slope; });
  }
  static std::vector<Sample> samples();
};

struct BceWithLogits : Binary<BceWithLogits, fn::BceWithLogits> {
  static constexpr std::string_view name = "binary_cross_entropy_with_logits";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    // sigmoid(x) - t, without losing a small difference where both are near 1.
    const Tensor x = wide(v.input(0)), t = wide(v.input(1)), g = wide(v.grad);
    const auto for_logit = [&] {
      return g * where(gt(x, scalar(0, x)), (1 - t) - sigmoid(-x), sigmoid(x) - t);
    };
    return sum_back_wide(v, for_logit, [&] { return -g * x; });
  }
  static std::vector<Sample> samples();
};

/// Where the target is 0, the loss and its derivative for the target are 0.
struct KlDiv : Binary<KlDiv, fn::KlDiv> {
  static constexpr std::string_view name = "kl_div";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    const Tensor x = wide(v.input(0)), t = wide(v.input(1)), g = wide(v.grad);
    const auto for_target = [&] {
      const Tensor zero = scalar(0, t), none = eq(t, zero), safe = where(none, ones_like(t), t);
      return g * where(none, zero, log(safe) + 1 - x);
    };
    return sum_back_wide(
        v, [&] { return -g * t; }, for_target);
  }
  static std::vector<Sample> samples();
};

}  // namespace bobbin
