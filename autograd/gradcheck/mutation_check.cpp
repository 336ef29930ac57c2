#include <bobbin/autograd.h>
#include <bobbin/gradcheck.h>
#include <bobbin/random.h>

#include <algorithm>

#include "dual_oracle.h"
#include "mutate.h"

namespace bobbin::gradcheck_detail {
namespace {

// Two walks leave twice the gradient of one.
bool accumulates(const Sample& sample) {
  std::vector<Tensor> x, once;
  for (const Tensor& t : sample.inputs) {
    x.push_back(t ? t.detach() : t);
    if (t && is_floating(t.dtype())) x.back().set_requires_grad();
  }
  const Tensor y = sample.call(x), v = uniform(y.shape(), 0.5, 1.5, y.dtype());
  if (!y.requires_grad()) return true;
  backward(y, v, Retain::yes);
  for (const Tensor& t : x) once.push_back(t && t.requires_grad() ? t.grad() : Tensor());
  backward(y, v);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!once[i]) continue;
    const auto one = once[i].to_vector<double>(), two = x[i].grad().to_vector<double>();
    if (!std::ranges::equal(one, two, [](double a, double b) { return 2 * a == b; })) return false;
  }
  return true;
}

}  // namespace

bool passes(const Sample& sample, std::uint64_t seed) try {
  for (const int order : {1, 2})
    if (!gradcheck(sample.call, sample.inputs, {.order = order, .seed = seed}).ok) return false;
  manual_seed(seed);
  if (!accumulates(sample)) return false;
  for (const int order : {1, 2})
    if (!check_steps(sample, order).failed.empty()) return false;
  return true;
} catch (const Error&) {
  return false;
}

}  // namespace bobbin::gradcheck_detail
