// The gradients of parameters, and their norm.
#pragma once
#include <bobbin/tensor.h>

#include <span>
#include <vector>

namespace bobbin::optim {

/// A parameter and its gradient.
struct Gradient {
  Tensor parameter, grad;
};

/// The gradients that there are. A parameter that is listed twice counts once.
std::vector<Gradient> gradients(std::span<const Tensor> parameters);

/// The p-norm of all gradients together, p 2 or infinity: an f64 scalar on the device of the first. It is
/// finite if all elements are, but for f64 near its limits and p = 2.
Tensor total_norm(const std::vector<Gradient>&, double p);

}  // namespace bobbin::optim
