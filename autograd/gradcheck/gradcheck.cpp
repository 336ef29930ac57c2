#include <bobbin/autograd.h>
#include <bobbin/gradcheck.h>
#include <bobbin/random.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace bobbin {
namespace {

using Function = std::function<std::vector<Tensor>(Inputs)>;

// Fresh leaves with the elements of x.
std::vector<Tensor> leaves(Inputs x) {
  std::vector<Tensor> out;
  for (const Tensor& t : x) {
    out.push_back(clone(t.detach()));
    if (is_floating(t.dtype())) out.back().set_requires_grad();
  }
  return out;
}

std::vector<Tensor> floating(Inputs x) {
  std::vector<Tensor> out;
  std::copy_if(x.begin(), x.end(), std::back_inserter(out),
               [](const Tensor& t) { return is_floating(t.dtype()); });
  return out;
}

std::vector<Tensor> cotangents(std::span<const Tensor> ys) {
  std::vector<Tensor> out;
  for (const Tensor& y : ys) {
    const Tensor side = bernoulli(y.shape(), 0.5, y.dtype()) * 2 - 1;
    out.push_back(side * uniform(y.shape(), 0.5, 1.5, y.dtype()));
  }
  return out;
}

// The gradients of sum_k <y_k, v_k>; zeros where it depends on no input. No operation of the check's own is
// on the tape: a mistake in the derivative of mul or sum must not hide itself.
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

// Gradients of f, weighted with fixed cotangents, as a function of the same inputs.
Function derivative(Function f, std::vector<Tensor> v) {
  return [f = std::move(f), v = std::move(v)](Inputs x) {
    return weighted_gradients(f(x), v, floating(x), CreateGraph::yes);
  };
}

double weighted_sum(std::span<const Tensor> ys, std::span<const Tensor> vs) {
  double total = 0;
  for (std::size_t k = 0; k < ys.size(); ++k) {
    const auto y = ys[k].to_vector<double>(), v = vs[k].to_vector<double>();
    for (std::size_t i = 0; i < y.size(); ++i) total += y[i] * v[i];
  }
  return total;
}

// df/dx[i] by central differences at h, h/2 and h/4, extrapolated: the error is of order h^6.
double numeric(const Function& f, std::vector<Tensor> inputs, std::size_t k, std::int64_t i,
               std::span<const Tensor> v) {
  const double x = inputs[k].data<double>()[static_cast<std::size_t>(i)];
  const auto at = [&](double value) {
    std::vector<Tensor> moved = leaves(inputs);
    {
      const NoGrad quiet;
      moved[k].mutable_data<double>()[static_cast<std::size_t>(i)] = value;
    }
    return weighted_sum(f(moved), v);
  };
  const double scale = std::exp2(std::floor(std::log2(std::clamp(std::abs(x), 1e-3, 1.0))));
  std::array<double, 3> d{};
  double h = scale / 64;
  for (double& slope : d) {
    const double up = x + h, down = x - h;
    slope = (at(up) - at(down)) / (up - down);
    h /= 2;
  }
  const double r1 = (4 * d[1] - d[0]) / 3, r2 = (4 * d[2] - d[1]) / 3;
  return (16 * r2 - r1) / 15;
}

void compare(const Function& f, Inputs inputs, const GradcheckOptions& options, GradcheckReport& report) {
  const std::vector<Tensor> xs = leaves(inputs);
  const std::vector<Tensor> ys = f(xs), v = cotangents(ys);
  const std::vector<Tensor> wanted = floating(xs);
  const std::vector<Tensor> analytic = weighted_gradients(ys, v, wanted, CreateGraph::no);
  std::size_t j = 0;
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    if (!is_floating(inputs[k].dtype())) continue;
    const auto a = analytic[j++].to_vector<double>();
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double n = numeric(f, xs, k, static_cast<std::int64_t>(i), v);
      const double error = std::abs(a[i] - n) / std::max(1.0, std::abs(n));
      ++report.elements;
      if (!(error <= report.worst)) report.worst = error;
      if (!(error <= options.tolerance) && report.ok) {
        report.ok = false;
        report.failure = fmt::format("order {}, input {}, flat index {}: analytic {:.12g}, numeric {:.12g}",
                                     options.order, k, i, a[i], n);
      }
    }
  }
}

}  // namespace

GradcheckReport gradcheck(const std::function<Tensor(Inputs)>& f, std::span<const Tensor> inputs,
                          const GradcheckOptions& options) {
  for (const Tensor& x : inputs)
    if (is_floating(x.dtype()) && x.dtype() != DType::f64)
      fail<DTypeError>("gradcheck: inputs must be f64, where differences are exact enough; got ", x.spec());
  if (options.order < 1) fail<ValueError>("gradcheck: expected an order of at least 1; got ", options.order);
  const Generator before = std::exchange(default_generator(), {options.seed, 0});
  Function function = [&f](Inputs x) { return std::vector<Tensor>{f(x)}; };
  GradcheckReport report;
  try {
    for (int order = 1; order < options.order; ++order)
      function = derivative(function, cotangents(function(leaves(inputs))));
    compare(function, inputs, options, report);
  } catch (...) {
    default_generator() = before;
    throw;
  }
  default_generator() = before;
  return report;
}

}  // namespace bobbin
