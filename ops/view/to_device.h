// to(x, Device): copies between devices.
#pragma once
#include <bobbin/elementwise.h>
#include <bobbin/op.h>

#include "core/strided_copy.h"

namespace bobbin {

/// x on another device.
struct ToDevice {
  Device device;
  static constexpr std::string_view name = "to_device";
  static constexpr Strided strided = Strided::all;
  static constexpr bool any_device = true;
  TensorSpec infer(Inputs x) const { return {x[0].shape(), x[0].dtype(), device}; }
  void cpu(Inputs x, Tensor& y) const { copy_elements(x[0], y); }
  void cuda(Inputs x, Tensor& y) const { copy_elements(x[0], y); }
  Grads vjp(const Vjp& v) const { return {to(v.grad, v.spec(0).device)}; }
  static std::vector<Sample> samples();
};

}  // namespace bobbin
