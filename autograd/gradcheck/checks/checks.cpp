// The checks of one operation's samples and of one model, by all oracles.
#include "autograd/gradcheck/checks/checks.h"

#include <bobbin/elementwise.h>
#include <bobbin/index.h>
#include <bobbin/random.h>
#include <bobbin/view.h>
#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cmath>

#include "autograd/gradcheck/oracles/dual_oracle.h"
#include "autograd/gradcheck/oracles/gradients.h"

namespace bobbin::gradcheck_detail {
namespace {

bool is_edge(const Sample& s) {
  return std::ranges::any_of(s.inputs, [](const Tensor& x) {
    if (!x) return false;
    if (x.numel() <= 1) return true;
    const auto v = x.to_vector<double>();
    return !std::ranges::all_of(v, [](double e) { return std::isfinite(e); });
  });
}

// A tensor of `shape` whose elements are drawn from those of x. Changes numbers by 1 % at most, so that they
// stay where the function is smooth.
Tensor redrawn(const Tensor& x, const Shape& shape) {
  Tensor picked = index_select(reshape(x.detach(), {-1}), 0, randint(0, x.numel(), {numel(shape)}));
  if (is_floating(x.dtype())) picked = picked * uniform(picked.shape(), 0.99, 1.01, x.dtype());
  return reshape(picked, shape);
}

void reshape_inputs(Sample& s, const Shape& shape) {
  if (s.inputs.empty() || s.inputs.front().numel() == 0) return;
  const Shape first = s.inputs.front().shape();
  for (Tensor& x : s.inputs)
    if (x && x.shape() == first) x = redrawn(x, shape);
}

// The report of a check that compares `elements` numbers and describes an error in one line.
GradcheckReport line_report(std::string failure, std::int64_t elements) {
  GradcheckReport r;
  r.elements = elements;
  if (!failure.empty()) r.verdict = Verdict::fail;
  r.failure = std::move(failure);
  return r;
}

GradcheckReport by_dual_numbers(const Sample& sample, int order) {
  const auto found = check_steps(sample, order);
  GradcheckReport r;
  r.elements = found.compared;
  r.worst = found.worst;
  if (found.compared == 0) r.verdict = Verdict::skip, r.failure = "no operation has a scalar reference";
  auto failed = found.failed;
  std::ranges::sort(failed, std::greater(),
                    [](auto& e) { return std::abs(e.analytic - e.dual) / e.tolerance; });
  for (auto& e : failed) {
    if (r.mismatches.size() == 10) break;
    r.mismatches.push_back({order,
                            e.input,
                            e.index,
                            {},
                            e.analytic,
                            e.dual,
                            e.tolerance,
                            "random",
                            fmt::format("dual numbers of {}", e.op)});
  }
  if (!failed.empty()) {
    r.verdict = Verdict::fail;
    r.failure = fmt::format("order {}, {}", order, describe(r.mismatches.front()));
  }
  return r;
}

// Runs checks one after the other, and keeps their results.
class Checks {
 public:
  Checks(std::string op, const CheckOptions& options) : op_(std::move(op)), options_(options) {}
  std::vector<CheckResult> results;

  void operator()(const std::string& sample, std::string check, const std::string& again,
                  const std::function<GradcheckReport()>& f) {
    const Budget time(0);
    CheckResult r{op_, sample, std::move(check), again, 0, {}};
    try {
      r.report = f();
    } catch (const GradError& e) {  // of a derivative
      r.report = line_report(e.what(), 0);
    } catch (const Error& e) {  // the shape of --shape does not fit every call
      r.report = line_report(e.what(), 0);
      if (options_.shape) r.report.verdict = Verdict::skip;
    } catch (...) {  // of an operation that is not Bobbin's own
      r.report = line_report(caught(), 0);
    }
    r.seconds = time.passed();
    results.push_back(std::move(r));
  }

 private:
  std::string op_;
  const CheckOptions& options_;
};

// The result of an operation or a model that could not even make its samples.
std::vector<CheckResult> without_samples(std::string_view name) {
  return {{std::string(name), "*", "samples", "", 0, line_report(caught(), 0)}};
}

}  // namespace

bool matches(const std::string& pattern, std::string_view text) {
  return fnmatch(pattern.c_str(), std::string(text).c_str(), 0) == 0;
}

std::vector<Sample> valid_samples(const OpInfo& op, std::uint64_t seed) {
  manual_seed(seed);
  auto samples = op.samples ? op.samples() : std::vector<Sample>();
  std::erase_if(samples, [](const Sample& s) { return !s.throws.empty(); });
  return samples;
}

SampleCounts count_samples(const OpInfo& op, std::uint64_t seed) {
  SampleCounts n;
  for (auto& s : valid_samples(op, seed)) {
    ++n.valid;
    n.edge += is_edge(s);
    n.checked += op.differentiable && s.differentiable;
  }
  if (op.samples) n.invalid = static_cast<int>(op.samples().size()) - n.valid;
  return n;
}

std::vector<CheckResult> check_op(const OpInfo& op, const CheckOptions& options, Budget& budget) try {
  Checks check(std::string(op.name), options);
  if (!op.differentiable) return {};
  for (auto& sample : valid_samples(op, options.seed)) {
    if (!matches(options.sample, sample.note)) continue;
    if (!budget.left()) break;
    if (options.shape) reshape_inputs(sample, *options.shape);
    const auto has = [&](Layout l) { return std::ranges::count(options.layouts, l) > 0; };
    std::int64_t elements = 0;
    for (const Tensor& x : sample.inputs) elements += varied(x) ? x.numel() : 0;
    for (const int order : options.orders) {
      if (!has(Layout::contiguous)) break;
      const auto again = fmt::format("--order {} --layout contiguous", order);
      GradcheckOptions own{.order = order, .seed = options.seed};
      if (!options.shape && order == 1) own.at_kinks = sample.at_kinks;
      if (sample.differentiable || own.at_kinks)
        check(sample.note, fmt::format("differences, order {}", order), again,
              [&] { return gradcheck(sample.call, sample.inputs, own); });
      check(sample.note, fmt::format("dual numbers, order {}", order), again,
            [&] { return by_dual_numbers(sample, order); });
      if (check.results.back().report.verdict == Verdict::skip) check.results.pop_back();
    }
    if (!sample.differentiable) continue;
    for (const Layout layout : {Layout::strided, Layout::expanded})
      if (has(layout))
        check(sample.note, std::string(name(layout)), fmt::format("--layout {}", name(layout)), [&] {
          return line_report(compare_layout(sample.call, sample.inputs, layout, options.seed), elements);
        });
    if (sample.batch && has(Layout::contiguous) && !options.shape)
      check(sample.note, "rows", "--layout contiguous",
            [&] { return line_report(compare_rows(sample.call, sample.inputs, options.seed), elements); });
  }
  return std::move(check.results);
} catch (...) {
  return without_samples(op.name);
}

std::vector<CheckResult> check_model(const ModelInfo& model, const CheckOptions& options) try {
  Checks check(std::string(model.name), options);
  manual_seed(options.seed);
  const Sample sample = model.make();
  for (const int order : options.orders)
    check(sample.note, fmt::format("differences, order {}", order), fmt::format("--order {}", order),
          [&] { return gradcheck(sample.call, sample.inputs, {.order = order, .seed = options.seed}); });
  check(sample.note, "Taylor remainder", "", [&] {
    const auto taylor = taylor_test(sample.call, sample.inputs, options.seed);
    GradcheckReport r;
    r.elements = static_cast<std::int64_t>(taylor.steps.size());
    r.worst = std::abs(taylor.slope - 2) / 0.1;
    if (!taylor.ok()) r.verdict = Verdict::fail;
    r.failure = fmt::format("slope {:.4f} over steps {:.1e} to {:.1e}", taylor.slope, taylor.steps.front(),
                            taylor.steps.back());
    return r;
  });
  return std::move(check.results);
} catch (...) {
  return without_samples(model.name);
}

}  // namespace bobbin::gradcheck_detail
