// Compares an operation's own derivatives with those by dual numbers.
#include <bobbin/autograd.h>
#include <bobbin/random.h>

#include <algorithm>
#include <cmath>

#include "autograd/gradcheck/oracles/dual_oracle.h"
#include "autograd/gradcheck/oracles/gradients.h"
#include "core/probe.h"

namespace bobbin::gradcheck_detail {
namespace {

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

  // Numbers are added here without operations: a mistake in mul or sum must not hide itself.
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
