// Muon: momentum, made orthogonal.
#include <bobbin/elementwise.h>
#include <bobbin/matmul.h>
#include <bobbin/reduce.h>
#include <bobbin/view.h>

#include <cmath>

#include "autograd/optim/apply.h"

namespace bobbin::optim {
namespace {

// Newton-Schulz iteration towards the nearest matrix with orthogonal rows or columns: its singular values
// become about 1. K. Jordan chose the coefficients to grow small singular values fast.
Tensor orthogonal(const Tensor& g, int steps) {
  const bool tall = g.shape()[0] > g.shape()[1];
  Tensor x = tall ? transpose(g) : g;
  x = x / (norm(x) + 1e-7);
  for (int i = 0; i < steps; ++i) {
    const Tensor a = matmul(x, transpose(x));
    x = x * 3.4445 + matmul(a * -4.7750 + matmul(a, a) * 2.0315, x);
  }
  return tall ? transpose(x) : x;
}

}  // namespace

Muon::Muon(Parameters p, const MuonOptions& o)
    : Optimizer(std::move(p), o.lr, o.weight_decay), options_(o), momentum_(keep("momentum_buffer")) {
  for (auto& m : parameters())
    if (m.rank() != 2)
      fail<ShapeError>("Muon: parameters are matrices; got ", m.spec(), "; give it to AdamW");
  require_fraction("Muon", "momentum", o.momentum);
  if (o.ns_steps < 1) fail<ValueError>("Muon: expected ns_steps >= 1; got ", o.ns_steps);
}

void Muon::update(std::span<const Part> parts) {
  std::vector<Part> averages(parts.begin(), parts.end()), directions = averages;
  const double c = 1 - options_.momentum;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto& [index, group, p, unscaled, steps, factor] = parts[i];
    const Tensor g = factor ? to(to(unscaled, DType::f64) * factor, p.dtype()) : unscaled;
    const Tensor m = momentum_[index] - momentum_[index] * c + g * c;
    const Tensor u = options_.nesterov ? m - m * c + g * c : m;
    const double ratio = static_cast<double>(p.size(0)) / static_cast<double>(p.size(1));
    directions[i].factor = {};
    directions[i].grad = contiguous(orthogonal(u, options_.ns_steps) * std::sqrt(std::max(1.0, ratio)));
    averages[i].parameter = momentum_[index];
  }
  Updates updates;
  updates.add<BlendRule>(averages, {}, [c]<class T>(Type<T>, std::size_t, std::size_t) {
    return BlendRule<T>{static_cast<T>(c), static_cast<T>(-c)};
  });
  updates.add<BlendRule>(directions, {}, [this]<class T>(Type<T>, std::size_t group, std::size_t) {
    return BlendRule<T>{static_cast<T>(rate(group) * decay(group)), static_cast<T>(rate(group))};
  });
  updates.run();
}

}  // namespace bobbin::optim
