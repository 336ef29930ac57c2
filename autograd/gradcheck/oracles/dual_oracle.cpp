// Derivatives of a scalar reference on dual numbers: one run per input element, and in second order per pair
// of elements. Compares the derivatives of operations with them.
#include "autograd/gradcheck/oracles/dual_oracle.h"

#include <bobbin/autograd.h>

#include <algorithm>
#include <cmath>

#include "autograd/gradcheck/oracles/gradients.h"
#include "autograd/gradcheck/oracles/reference.h"
#include "core/probe.h"

namespace bobbin::gradcheck_detail {
namespace {

constexpr std::size_t longest_second = 64;  // a cell of n elements costs n^3

// Sums of terms, with S, k and E of the tolerance.
class Sums {
 public:
  explicit Sums(std::int64_t n)
      : total_(static_cast<std::size_t>(n)), size_(total_), error_(total_), count_(total_) {}
  void add(std::int64_t i, double weight, const Rounded& slope) {
    const auto at = static_cast<std::size_t>(i);
    total_[at] += weight * slope.value;
    size_[at] += std::abs(weight * slope.value);
    error_[at] += std::abs(weight) * slope.error;
    ++count_[at];
  }
  Judged judged() && {
    for (std::size_t i = 0; i < size_.size(); ++i)
      size_[i] = ((8 + 2 * count_[i]) * size_[i] + 8 * error_[i]) * 0x1p-53;
    return {std::move(total_), std::move(size_)};
  }

 private:
  std::vector<double> total_, size_, error_, count_;
};

std::vector<std::vector<double>> values_of(Inputs x) {
  std::vector<std::vector<double>> out;
  for (const Tensor& t : x)
    out.push_back(t && is_floating(t.dtype()) ? t.to_vector<double>() : std::vector<double>());
  return out;
}
std::vector<Sums> sums_of(Inputs x) {
  std::vector<Sums> out;
  for (const Tensor& t : x) out.emplace_back(t && is_floating(t.dtype()) ? t.numel() : 0);
  return out;
}
std::vector<Judged> judged(std::vector<Sums>& sums) {
  std::vector<Judged> out;
  for (Sums& s : sums) out.push_back(std::move(s).judged());
  return out;
}

template<class T>
void load(const Cell& cell, const std::vector<std::vector<double>>& x, std::vector<T>& in) {
  in.clear();
  for (auto& slot : cell.in)
    in.push_back(T(x[static_cast<std::size_t>(slot.input)][static_cast<std::size_t>(slot.element)]));
}

}  // namespace

std::optional<DualGradients> dual_vjp(const OpBase& op, Inputs inputs, const Tensor& cotangent) {
  const auto reference = reference_of(op, inputs);
  if (!reference) return {};
  const auto x = values_of(inputs);
  const auto v = cotangent.to_vector<double>();
  auto sums = sums_of(inputs);
  std::vector<First> in, out;
  for (std::size_t c = 0; c < reference->cells.size(); ++c) {
    const Cell& cell = reference->cells[c];
    load(cell, x, in);
    for (std::size_t p = 0; p < in.size(); ++p) {
      in[p].slope = Rounded(1);
      out.assign(cell.out.size(), First(0));
      reference->eval(c, std::span<const First>(in), std::span(out));
      in[p].slope = Rounded(0);
      Sums& sum = sums[static_cast<std::size_t>(cell.in[p].input)];
      for (std::size_t j = 0; j < out.size(); ++j)
        sum.add(cell.in[p].element, v[static_cast<std::size_t>(cell.out[j])], out[j].slope);
    }
  }
  return DualGradients{judged(sums), {}};
}

std::optional<DualGradients> dual_vjp2(const OpBase& op, Inputs inputs, const Tensor& cotangent,
                                       std::span<const Tensor> weights) {
  const auto reference = reference_of(op, inputs);
  if (!reference ||
      std::ranges::any_of(reference->cells, [](const Cell& c) { return c.in.size() > longest_second; }))
    return {};
  const auto x = values_of(inputs), w = values_of(weights);
  const auto v = cotangent.to_vector<double>();
  auto sums = sums_of(inputs);
  Sums along(cotangent.numel());
  std::vector<Second> in, out;
  for (std::size_t c = 0; c < reference->cells.size(); ++c) {
    const Cell& cell = reference->cells[c];
    load(cell, x, in);
    for (std::size_t p = 0; p < in.size(); ++p) {
      const auto& [input, element] = cell.in[p];
      const double weight = w[static_cast<std::size_t>(input)][static_cast<std::size_t>(element)];
      in[p].slope.value = Rounded(1);
      for (std::size_t q = 0; q < in.size(); ++q) {
        in[q].value.slope = Rounded(1);
        out.assign(cell.out.size(), Second(0));
        reference->eval(c, std::span<const Second>(in), std::span(out));
        in[q].value.slope = Rounded(0);
        Sums& sum = sums[static_cast<std::size_t>(cell.in[q].input)];
        for (std::size_t j = 0; j < out.size(); ++j) {
          sum.add(cell.in[q].element, v[static_cast<std::size_t>(cell.out[j])] * weight, out[j].slope.slope);
          if (q == 0) along.add(cell.out[j], weight, out[j].slope.value);
        }
      }
      in[p].slope.value = Rounded(0);
    }
  }
  return DualGradients{judged(sums), std::move(along).judged()};
}

namespace {

// Records the differentiable operations that run.
class Recorder final : public detail::Probe {
 public:
  std::vector<Step> steps;
  void ran(const OpBase& op, Inputs x, const Tensor& y) override {
    if (y.requires_grad()) {
      Step step{op.make_node(y.spec()), {}, {}};
      for (const Tensor& t : x) {
        step.inputs.push_back(t ? t.detach() : t);
        step.needs.push_back(t && t.requires_grad());
      }
      steps.push_back(std::move(step));
    }
    Probe::ran(op, x, y);
  }
};

void compare(const Judged& want, const std::vector<double>& a, DualElement where, DualReport& report) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    where.index = static_cast<std::int64_t>(i);
    where.analytic = a[i], where.dual = want.value[i], where.tolerance = want.tolerance[i];
    ++report.compared;
    const double error = std::abs(where.analytic - where.dual);
    if (error != 0 && !(error / where.tolerance <= report.worst)) report.worst = error / where.tolerance;
    if (!where.ok()) report.failed.push_back(where);
  }
}

}  // namespace

std::vector<Step> steps_of(const std::function<Tensor(Inputs)>& f, Inputs inputs) {
  std::vector<Tensor> leaves;
  for (const Tensor& x : inputs) {
    leaves.push_back(x ? x.detach() : x);
    if (x && is_floating(x.dtype())) leaves.back().set_requires_grad();
  }
  Recorder recorder;
  f(leaves);
  return std::move(recorder.steps);
}

std::optional<DualReport> check_step(const Step& step, int order) {
  std::vector<Tensor> x, wanted, weights;
  std::vector<int> places;
  for (std::size_t i = 0; i < step.inputs.size(); ++i) {
    x.push_back(step.inputs[i] ? step.inputs[i].detach() : Tensor());
    const bool floating = x[i] && is_floating(x[i].dtype());
    weights.push_back(floating ? step.needs[i] ? random_cotangent(x[i]) : zeros_like(x[i]) : Tensor());
    if (!step.needs[i]) continue;
    wanted.push_back(x[i].set_requires_grad());
    places.push_back(static_cast<int>(i));
  }
  const Tensor y = detail::record(step.op(), x);
  if (y.dtype() != DType::f64) return {};
  Tensor v = random_cotangent(y);
  const auto dual =
      order == 1 ? dual_vjp(step.op(), step.inputs, v) : dual_vjp2(step.op(), step.inputs, v, weights);
  if (!dual) return {};

  // Numbers are added here without operations, because a mistake in mul or sum could cancel itself.
  wanted.push_back(v.set_requires_grad());
  std::vector<std::vector<double>> own;
  const auto add = [&](std::span<const Tensor> gradients) {
    for (std::size_t k = 0; k < gradients.size(); ++k) {
      const auto g = gradients[k].to_vector<double>();
      for (std::size_t i = 0; i < g.size(); ++i) own[k][i] += g[i];
    }
  };
  const std::span<const Tensor> xs(wanted.data(), places.size());
  const auto first = grad(y, xs, v, order == 1 ? CreateGraph::no : CreateGraph::yes);
  for (const Tensor& w : wanted) own.emplace_back(static_cast<std::size_t>(w.numel()));
  if (order == 1)
    add(first);
  else
    for (std::size_t k = 0; k < places.size(); ++k)
      if (first[k].requires_grad())
        add(grad(first[k], wanted, weights[static_cast<std::size_t>(places[k])], CreateGraph::no,
                 Retain::yes));

  DualReport report;
  const DualElement where{std::string(step.op().name()), order, -1, 0, 0, 0, 0};
  for (std::size_t k = 0; k < places.size(); ++k) {
    DualElement at = where;
    at.input = places[k];
    compare(dual->inputs[static_cast<std::size_t>(places[k])], own[k], at, report);
  }
  if (order == 2) compare(dual->cotangent, own.back(), where, report);
  return report;
}

DualReport check_steps(const Sample& sample, int order) {
  DualReport all;
  const bool large = std::ranges::any_of(sample.inputs, [](const Tensor& t) { return t && t.numel() > 64; });
  if (!sample.throws.empty() || !(sample.differentiable || (large && order == 1))) return all;
  for (auto& step : steps_of(sample.call, sample.inputs)) {
    const auto report = check_step(step, order);
    if (!report) continue;
    all.operations.insert(std::string(step.op().name()));
    all.compared += report->compared;
    if (!(report->worst <= all.worst)) all.worst = report->worst;
    all.failed.insert(all.failed.end(), report->failed.begin(), report->failed.end());
  }
  return all;
}

}  // namespace bobbin::gradcheck_detail
