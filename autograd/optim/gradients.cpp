// Clipping of gradients.
#include "autograd/optim/gradients.h"

#include <bobbin/elementwise.h>
#include <bobbin/reduce.h>
#include <bobbin/tape.h>
#include <bobbin/view.h>

#include <algorithm>
#include <set>

#include "autograd/optim/apply.h"
#include "ops/check.h"
#include "ops/reduce/reduce.h"

namespace bobbin::optim {
namespace {

// The p-norm of the elements of all inputs together in f64, the dtype that the kernels of `norm` compute in:
// the norm of f32 gradients may exceed f32.
struct TotalNorm {
  double p;
  static constexpr std::string_view name = "total_norm";
  static constexpr Strided strided{.cpu = Strided::all.cpu};
  static constexpr bool differentiable = false;
  TensorSpec infer(Inputs x) const { return {{}, DType::f64, x[0].device()}; }
  void cpu(Inputs x, Tensor& y) const {
    Tensor norms = empty({static_cast<std::int64_t>(x.size())}, DType::f64);
    for (std::size_t i = 0; i < x.size(); ++i) {
      Tensor one = select(norms, 0, static_cast<std::int64_t>(i));
      Norm{{}, p}.cpu(x.subspan(i, 1), one);
    }
    Norm{{}, p}.cpu({&norms, 1}, y);
  }
  void cuda([[maybe_unused]] Inputs x, [[maybe_unused]] Tensor& y) const {
    if constexpr (built_with_cuda) norm_on_gpu(x, p, y);
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
  std::vector<std::pair<Device, std::vector<Tensor>>> by_device;  // in the order of their first gradients
  for (auto& [parameter, g] : all) {
    const Device device = g.device();
    auto at = std::ranges::find(by_device, device, [](auto& group) { return group.first; });
    if (at == by_device.end()) at = by_device.insert(at, {device, {}});
    // The GPU's kernels read f32 and f64.
    at->second.push_back(device.is_cuda() && compute_type(g.dtype()) != g.dtype() ? to(g, DType::f32) : g);
  }
  std::vector<Tensor> norms;
  for (auto& [device, grads] : by_device)
    norms.push_back(reshape(to(record(TotalNorm{p}, Inputs(grads)), by_device.front().first), {1}));
  return norms.size() == 1 ? reshape(norms[0], {}) : norm(concat(norms, 0), p);
}

Tensor shrink_to(double max_norm, const Tensor& norm) {
  return where(norm <= max_norm, ones_like(norm), max_norm / norm);
}

Tensor clip_grad_norm(std::span<const Tensor> parameters, double max_norm) {
  if (!(max_norm > 0)) fail<ValueError>("clip_grad_norm: expected max_norm > 0; got ", max_norm);
  const NoGrad quiet;
  const auto all = gradients(parameters);
  if (all.empty()) fail<ValueError>("clip_grad_norm: no parameter has a gradient");
  const Tensor total = total_norm(all, 2);
  const Tensor shrink = shrink_to(max_norm, total);
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
