// Clipping of gradients.
#include "autograd/optim/gradients.h"

#include <bobbin/elementwise.h>
#include <bobbin/reduce.h>
#include <bobbin/tape.h>
#include <bobbin/view.h>

#include <set>

#include "autograd/optim/apply.h"
#include "ops/reduce/reduce.h"

namespace bobbin::optim {
namespace {

// The p-norm of all elements in f64, the dtype that the kernels of `norm` compute in. The norm of f32
// gradients may exceed f32.
struct WideNorm {
  double p;
  static constexpr std::string_view name = "norm";
  static constexpr Strided strided = Norm::strided;
  static constexpr bool differentiable = false;
  TensorSpec infer(Inputs x) const { return {{}, DType::f64, x[0].device()}; }
  void cpu(Inputs x, Tensor& y) const { Norm{{}, p}.cpu(x, y); }
  void cuda([[maybe_unused]] Inputs x, [[maybe_unused]] Tensor& y) const {
    if constexpr (built_with_cuda) Norm{{}, p}.cuda(x, y);
  }
};

// Prepares an edit of all gradients, and makes it. A rule edits in place those that are contiguous, of a
// dtype that rules take, and share no storage with another; f gives the new tensors of the others.
template<template<class> class Rule, class Make, class F>
void edit(const std::vector<Gradient>& all, Make make, F f) {
  std::multiset<const Storage*> storages;
  for (auto& [p, g] : all) storages.insert(g.storage().get());
  std::vector<Optimizer::Part> in_place;
  std::vector<std::pair<Tensor, Tensor>> replaced;  // parameters and their new gradients
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto& [p, g] = all[i];
    if (g.is_contiguous() && (g.dtype() == DType::f32 || g.dtype() == DType::f64) &&
        storages.count(g.storage().get()) == 1)
      in_place.push_back({.index = i, .group = 0, .parameter = g, .grad = {}});
    else
      replaced.emplace_back(p, f(g));
  }
  apply<Rule>(in_place, {}, make);
  for (auto& [p, g] : replaced) p.set_grad(std::move(g));
}

}  // namespace

std::vector<Gradient> gradients(std::span<const Tensor> parameters) {
  std::vector<Gradient> out;
  std::set<const Node*> seen;
  for (auto& p : parameters)
    if (const Tensor g = p.grad(); g && seen.insert(p.node().get()).second) out.push_back({p, g});
  return out;
}

Tensor total_norm(const std::vector<Gradient>& all, double p) {
  std::vector<Tensor> norms;
  const Device device = all.front().grad.device();
  for (auto& g : all) norms.push_back(reshape(to(record(WideNorm{p}, {g.grad}), device), {1}));
  return norm(concat(norms, 0), p);
}

Tensor clip_grad_norm(std::span<const Tensor> parameters, double max_norm) {
  if (!(max_norm > 0)) fail<ValueError>("clip_grad_norm: expected max_norm > 0; got ", max_norm);
  const NoGrad quiet;
  const auto all = gradients(parameters);
  if (all.empty()) fail<ValueError>("clip_grad_norm: no parameter has a gradient");
  const Tensor total = total_norm(all, 2);
  const Tensor shrink = where(total <= max_norm, ones_like(total), max_norm / total);
  if (shrink.device().is_cpu() && shrink.item() == 1) return total;
  std::vector<Tensor> factors;  // on each gradient's device
  for (auto& g : all) factors.push_back(to(shrink, g.grad.device()));
  edit<ScaleRule>(
      all,
      [factors]<class T>(Type<T>, std::size_t, std::size_t i) {
        const Tensor& factor = factors[i];
        if (factor.device().is_cuda()) return ScaleRule<T>{0, factor.raw<double>()};
        return ScaleRule<T>{factor.item(), nullptr};
      },
      [&](const Tensor& g) { return to(to(g, DType::f64) * to(shrink, g.device()), g.dtype()); });
  return total;
}

void clip_grad_value(std::span<const Tensor> parameters, double limit) {
  if (!(limit > 0)) fail<ValueError>("clip_grad_value: expected limit > 0; got ", limit);
  const NoGrad quiet;
  edit<ClampRule>(
      gradients(parameters),
      [limit]<class T>(Type<T>, std::size_t, std::size_t) { return ClampRule<T>{static_cast<T>(limit)}; },
      [limit](const Tensor& g) { return clamp(g, -limit, limit); });
}

}  // namespace bobbin::optim
