// Clipping and scaling of gradients, and moving averages of parameters.
#include <bobbin/elementwise.h>
#include <bobbin/reduce.h>
#include <bobbin/tape.h>
#include <bobbin/view.h>

#include <cmath>

#include "autograd/optim/apply.h"

namespace bobbin::optim {
namespace {

std::vector<Tensor> gradients(std::span<const Tensor> parameters) {
  std::vector<Tensor> out;
  for (auto& p : parameters)
    if (p.grad()) out.push_back(p.grad());
  return out;
}

// The norm of all gradients together: an f64 scalar on the device of the first.
Tensor total_norm(std::span<const Tensor> grads) {
  std::vector<Tensor> norms;
  for (auto& g : grads) norms.push_back(reshape(to(to(norm(g), DType::f64), grads.front().device()), {1}));
  return norm(concat(norms, 0));
}

}  // namespace

Tensor clip_grad_norm(std::span<const Tensor> parameters, double max_norm) {
  if (!(max_norm > 0)) fail<ValueError>("clip_grad_norm: expected max_norm > 0; got ", max_norm);
  const NoGrad quiet;
  auto grads = gradients(parameters);
  if (grads.empty()) fail<ValueError>("clip_grad_norm: no parameter has a gradient");
  const Tensor total = total_norm(grads);
  const Tensor shrink = minimum(max_norm / (total + 1e-6), ones_like(total));
  for (auto& g : grads) g.copy_(g * to(to(shrink, g.dtype()), g.device()));
  return total;
}

void clip_grad_value(std::span<const Tensor> parameters, double limit) {
  if (!(limit > 0)) fail<ValueError>("clip_grad_value: expected limit > 0; got ", limit);
  const NoGrad quiet;
  for (auto& g : gradients(parameters)) g.copy_(clamp(g, -limit, limit));
}

Ema::Ema(std::vector<Tensor> parameters, double decay) : parameters_(std::move(parameters)), decay_(decay) {
  if (!(decay >= 0 && decay < 1)) fail<ValueError>("Ema: expected 0 <= decay < 1; got ", decay);
  for (auto& p : parameters_) averages_.push_back(clone(p.detach()));
}

void Ema::update() {
  std::vector<Optimizer::Part> parts;
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    parts.push_back({i, 0, averages_[i], parameters_[i].detach()});
  apply<BlendRule>(parts, {}, [decay = decay_]<class T>(Type<T>, std::size_t) {
    return BlendRule<T>{static_cast<T>(decay), static_cast<T>(-(1 - decay))};
  });
}

void Ema::swap() {
  const NoGrad quiet;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor own = clone(parameters_[i].detach());
    parameters_[i].copy_(averages_[i]);
    averages_[i].copy_(own);
  }
}

Tensor GradScaler::scale(const Tensor& loss) const { return loss * scale_factor; }

bool GradScaler::step(Optimizer& optimizer) {
  const NoGrad quiet;
  auto grads = gradients(optimizer.parameters());
  if (!grads.empty() && !std::isfinite(total_norm(grads).item())) {
    scale_factor /= 2;
    good_ = 0;
    return false;
  }
  for (auto& g : grads) g.copy_(g * (1 / scale_factor));
  optimizer.step();
  if (++good_ < patience) return true;
  scale_factor *= 2;
  good_ = 0;
  return true;
}

}  // namespace bobbin::optim
