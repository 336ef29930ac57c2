// Losses that compare prediction and target element by element; the public functions reduce them.
#pragma once
#include "ops/elementwise/binary.h"

namespace bobbin {

struct SquaredError : Binary<SquaredError, fn::SquaredError> {
  static constexpr std::string_view name = "mse_loss";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    const Tensor slope = v.grad * (v.input(0) - v.input(1)) * 2;
    return sum_back(
        v, [&] { return slope; }, [&] { return -slope; });
  }
  static std::vector<Sample> samples();
};

struct AbsoluteError : Binary<AbsoluteError, fn::AbsoluteError> {
  static constexpr std::string_view name = "l1_loss";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    const Tensor slope = v.grad * sign(v.input(0) - v.input(1));
    return sum_back(
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
    const Tensor slope = v.grad * clamp(v.input(0) - v.input(1), -f.delta, f.delta);
    return sum_back(
        v, [&] { return slope; }, [&] { return -slope; });
  }
  static std::vector<Sample> samples();
};

struct BceWithLogits : Binary<BceWithLogits, fn::BceWithLogits> {
  static constexpr std::string_view name = "binary_cross_entropy_with_logits";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    const Tensor &x = v.input(0), &t = v.input(1);
    return sum_back(
        v, [&] { return v.grad * (sigmoid(x) - t); }, [&] { return -v.grad * x; });
  }
  static std::vector<Sample> samples();
};

/// Where the target is 0, the loss and its derivative for the target are 0.
struct KlDiv : Binary<KlDiv, fn::KlDiv> {
  static constexpr std::string_view name = "kl_div";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    const Tensor &x = v.input(0), &t = v.input(1);
    const auto for_target = [&] {
      const Tensor zero = scalar(0, t), none = eq(t, zero), safe = where(none, ones_like(t), t);
      return v.grad * where(none, zero, log(safe) + 1 - x);
    };
    return sum_back(
        v, [&] { return -v.grad * t; }, for_target);
  }
  static std::vector<Sample> samples();
};

}  // namespace bobbin
