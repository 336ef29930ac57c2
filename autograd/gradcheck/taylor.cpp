// The Taylor test of whole models: the rate at which the remainder of the first-order expansion decreases
// with the step.
#include <bobbin/autograd.h>
#include <bobbin/gradcheck.h>
#include <bobbin/random.h>

#include <cmath>

namespace bobbin {
namespace {

// The slope of the line through (log x, log y), by least squares.
double log_slope(std::span<const double> x, std::span<const double> y) {
  const auto n = static_cast<double>(x.size());
  double sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double a = std::log(x[i]), b = std::log(y[i]);
    sx += a;
    sy += b;
    sxx += a * a;
    sxy += a * b;
  }
  return (n * sxy - sx * sy) / (n * sxx - sx * sx);
}

// A random direction over all inputs that are varied. Its length is 1, so that the size of a step does not
// depend on the size of the model.
std::vector<Tensor> unit_direction(std::span<const Tensor> x) {
  std::vector<Tensor> out;
  double squares = 0;
  for (const Tensor& t : x) {
    Tensor& d = out.emplace_back();
    if (!t || !t.requires_grad()) continue;
    d = randn(t.shape(), DType::f64);
    squares += sum(square(d)).item();
  }
  for (Tensor& d : out)
    if (d) d = d / std::sqrt(squares);
  return out;
}

}  // namespace

TaylorReport taylor_test(const std::function<Tensor(Inputs)>& f, std::span<const Tensor> inputs,
                         std::uint64_t seed) {
  std::vector<Tensor> x;
  for (const Tensor& t : inputs) {
    const bool floating = t && is_floating(t.dtype());
    if (floating && t.dtype() != DType::f64)
      fail<DTypeError>("taylor_test: inputs must be f64; got ", t.spec());
    x.push_back(floating ? clone(t.detach()).set_requires_grad() : t);
  }
  const Tensor y = f(x);
  if (y.numel() != 1) fail<ShapeError>("taylor_test: f must give one number; got ", y.spec());
  backward(y);
  const NoGrad quiet;
  // Several directions, because along one direction the second derivative may be almost 0 by chance.
  std::vector<std::vector<Tensor>> directions;
  {
    const GeneratorScope draws({seed, 0});
    for (int k = 0; k < 4; ++k) directions.push_back(unit_direction(x));
  }
  std::vector<double> along(directions.size());
  for (std::size_t k = 0; k < directions.size(); ++k)
    for (std::size_t i = 0; i < x.size(); ++i)
      if (directions[k][i] && x[i].grad()) along[k] += sum(x[i].grad() * directions[k][i]).item();

  TaylorReport report;
  for (int e = 3; e <= 26; ++e) {
    const double h = std::ldexp(1.0, -e);
    double remainder = 0, rounding = 0;
    for (std::size_t k = 0; k < directions.size(); ++k) {
      std::vector<Tensor> moved;
      for (std::size_t i = 0; i < x.size(); ++i)
        moved.push_back(directions[k][i] ? x[i].detach() + directions[k][i] * h : x[i]);
      remainder += std::abs(f(moved).item() - y.item() - h * along[k]);
      rounding += 0x1p-50 * (std::abs(y.item()) + std::abs(h * along[k]));
    }
    if (!(remainder > 1e3 * rounding)) break;
    report.steps.push_back(h);
    report.remainders.push_back(remainder);
  }
  // Leaves out the largest steps, because terms of third order may matter there.
  while (report.steps.size() > 7 && report.steps.front() > 0x1p-6) {
    report.steps.erase(report.steps.begin());
    report.remainders.erase(report.remainders.begin());
  }
  if (report.steps.size() < 7)
    fail<ValueError>("taylor_test: the remainder stands out of rounding for ", report.steps.size(),
                     " halvings of the step, 7 are needed; f is linear along the direction, or not smooth");
  report.slope = log_slope(report.steps, report.remainders);
  return report;
}

}  // namespace bobbin
