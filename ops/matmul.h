// Matrix products, alone and as a layer.
#pragma once
#include <bobbin/ops.h>

namespace bobbin {

/// Operands of at least two dimensions; the axes before those broadcast.
struct Matmul {
  static constexpr std::string_view name = "matmul";
  static constexpr bool strided = true;
  static constexpr Saves saves(Needs needs) {
    return (needs[0] ? Saves::input(1) : Saves::none) | (needs[1] ? Saves::input(0) : Saves::none);
  }
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// Inputs x, weight and, defined or not, bias.
struct Linear {
  Activation activation;
  static constexpr std::string_view name = "linear";
  Saves saves(Needs) const;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();

 private:
  Tensor before_activation(const Vjp&) const;
};

}  // namespace bobbin
