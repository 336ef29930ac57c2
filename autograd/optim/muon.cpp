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
}

void Muon::update(std::span<const Part> parts) {
  std::vector<Tensor> averages;
  std::vector<Part> directions(parts.begin(), parts.end());
  const double mu = options_.momentum;
  for (auto& part : directions) {  // all directions before the first edit: they may throw
    const Tensor m = momentum_[part.index] * mu + part.grad * (1 - mu);
    const Tensor u = options_.nesterov ? part.grad * (1 - mu) + m * mu : m;
    const auto& size = part.parameter.shape();
    const double ratio = static_cast<double>(size[0]) / static_cast<double>(size[1]);
    part.grad = contiguous(orthogonal(u, options_.ns_steps) * std::sqrt(std::max(1.0, ratio)));
    averages.push_back(m);
  }
  for (std::size_t i = 0; i < parts.size(); ++i) momentum_[parts[i].index].copy_(averages[i]);
  apply<BlendRule>(directions, {}, [this]<class T>(Type<T>, std::size_t group) {
    return BlendRule<T>{static_cast<T>(1 - rate(group) * decay(group)), static_cast<T>(rate(group))};
  });
}

}  // namespace bobbin::optim
