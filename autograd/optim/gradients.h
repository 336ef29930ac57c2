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

/// The factor that scales gradients of this norm down to max_norm: an f64 scalar on the norm's device.
Tensor shrink_to(double max_norm, const Tensor& norm);

/// Writes the p-norm of all elements of `all`, p 2 or infinity, into the f64 scalar `norm`, on a GPU. Tensors
/// are row-major, f32 or f64. One launch reads as many as fit into the kernel's arguments, and one more adds
/// up: in an order that depends on the sizes of the tensors and their order alone. Defined in gradients.cu.
void norm_on_gpu(std::span<const Tensor> all, double p, const Tensor& norm);

}  // namespace bobbin::optim
