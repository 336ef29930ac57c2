// Random cotangents, and the gradients of functions for given cotangents.
#include "autograd/gradcheck/oracles/gradients.h"

#include <bobbin/elementwise.h>
#include <bobbin/random.h>
#include <bobbin/view.h>

#include <algorithm>

namespace bobbin::gradcheck_detail {

std::vector<Tensor> leaves(Inputs x) {
  std::vector<Tensor> out;
  for (const Tensor& t : x) {
    out.push_back(t ? clone(t.detach()) : t);
    if (varied(t)) out.back().set_requires_grad();
  }
  return out;
}

std::vector<Tensor> floating(Inputs x) {
  std::vector<Tensor> out;
  std::copy_if(x.begin(), x.end(), std::back_inserter(out), varied);
  return out;
}

Flat flat(std::span<const Tensor> ts) {
  Flat out;
  for (const Tensor& t : ts) {
    const auto v = t.to_vector<double>();
    out.insert(out.end(), v.begin(), v.end());
  }
  return out;
}

std::vector<Tensor> shaped(const Flat& v, std::span<const Tensor> ys) {
  std::vector<Tensor> out;
  std::size_t at = 0;
  for (const Tensor& y : ys) {
    Tensor t = empty(y.shape(), y.dtype());
    for (double& e : t.mutable_data<double>()) e = v[at++];
    out.push_back(t);
  }
  return out;
}

Tensor random_cotangent(const Tensor& y) {
  const Tensor side = bernoulli(y.shape(), 0.5, y.dtype()) * 2 - 1;
  return side * uniform(y.shape(), 0.5, 1.5, y.dtype());
}

std::vector<Tensor> random_cotangents(std::span<const Tensor> ys) {
  std::vector<Tensor> out;
  for (const Tensor& y : ys) out.push_back(random_cotangent(y));
  return out;
}

std::vector<Flat> cotangents(std::span<const Tensor> ys) {
  std::vector<Flat> out;
  for (int i = 0; i < 3; ++i) out.push_back(flat(random_cotangents(ys)));
  Flat one(out.front().size());
  if (!one.empty())
    one[static_cast<std::size_t>(randint(0, static_cast<std::int64_t>(one.size()), {}).item())] = 1;
  out.push_back(one);
  return out;
}

std::vector<Tensor> weighted_gradients(std::span<const Tensor> ys, std::span<const Tensor> vs, Inputs xs,
                                       CreateGraph create) {
  std::vector<Tensor> total(xs.size());
  for (std::size_t k = 0; k < ys.size(); ++k) {
    if (!ys[k].requires_grad()) continue;
    const auto g = grad(ys[k], xs, vs[k], create, Retain::yes);
    for (std::size_t i = 0; i < xs.size(); ++i) total[i] = total[i] ? total[i] + g[i] : g[i];
  }
  for (std::size_t i = 0; i < xs.size(); ++i)
    if (!total[i]) total[i] = zeros_like(xs[i]);
  return total;
}

Function derivative(Function f, std::size_t inputs) {
  return [f = std::move(f), inputs](Inputs all) {
    const Inputs x = all.first(inputs);
    return weighted_gradients(f(x), all.subspan(inputs), floating(x), CreateGraph::yes);
  };
}

}  // namespace bobbin::gradcheck_detail
