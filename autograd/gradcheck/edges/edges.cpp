// Runs the checks of edges of many operations, and prints their table.
#include "autograd/gradcheck/edges/edges.h"

#include <fmt/format.h>

#include <algorithm>

#include "autograd/gradcheck/edges/kinds.h"

namespace bobbin::gradcheck_detail {
namespace {

void print_failure(const CheckResult& r, const EdgeRunOptions& options) {
  fmt::print("{} {} ({}), {}: {}\n", name(r.report.verdict), r.op, r.sample, r.check, r.report.failure);
  if (options.verbose)
    for (auto& m : r.report.mismatches)
      fmt::print("       order {}, input {}, flat {}: {:.9g}, not {:.9g} +- {:.2g}; {}; {}\n", m.order,
                 m.input, m.index, m.analytic, m.numeric, m.tolerance, m.cotangent, m.oracle);
  fmt::print("       again: {} --op {} --sample {} {}\n", options.repeat, r.op, quoted(r.sample), r.again);
}

void print_results(std::span<const CheckResult> results, const EdgeRunOptions& options) {
  if (results.empty()) return;
  const Summary s = summarize(results);
  double worst = 0;
  for (auto& r : results) {
    if (r.report.verdict == Verdict::fail) print_failure(r, options);
    worst = std::max(worst, r.report.worst);
  }
  print_row(s.failed > 0   ? "FAIL"
            : s.passed > 0 ? "ok  "
                           : "skip",
            results.front().op,
            fmt::format("{:>4} checks {:>4} failed {:>3} skipped {:>8} elements  error by bound {:.3f}",
                        s.checks, s.failed, s.skipped, s.derivatives, worst));
  if (!options.verbose) return;
  for (auto& r : results)
    if (r.report.verdict == Verdict::skip)
      fmt::print("     skipped {}, {}: {}\n", r.sample, r.check, r.report.failure);
}

}  // namespace

std::vector<CheckResult> check_edges(const OpInfo& op, DType dtype, const EdgeRunOptions& options) {
  const EdgeOptions own{dtype, options.device, options.seed, options.sample};
  std::vector<CheckResult> out;
  for (const auto kind : {check_scales, check_classes, check_counts, check_tails, check_rules})
    for (auto& r : kind(op, own)) out.push_back(std::move(r));
  return out;
}

Run run_edges(std::span<const OpInfo> ops, const EdgeRunOptions& options) {
  const auto dtypes =
      options.dtypes.empty() ? std::vector{DType::f64, DType::f32, DType::bf16, DType::f16} : options.dtypes;
  Budget budget(options.budget);
  std::vector<std::string_view> names;
  for (auto& op : ops) names.push_back(op.name);
  std::vector<std::vector<CheckResult>> results(names.size());
  Run run;
  for_each_operation(
      names, options.device.is_cuda() ? 1 : options.jobs,
      [&](std::size_t i) {
        for (const DType d : dtypes)
          if (budget.left())
            for (auto& r : check_edges(ops[i], d, options)) results[i].push_back(std::move(r));
      },
      [&](std::size_t i) {
        print_results(results[i], options);
        std::ranges::move(results[i], std::back_inserter(run.results));
      });
  Summary& s = run.summary = summarize(run.results);
  s.seconds = budget.passed();
  s.complete = budget.left();
  fmt::print(
      "{} operations, {} checks of {} elements at edges: {} passed, {} failed, {} skipped; {:.2f} s{}\n",
      s.ops, s.checks, s.derivatives, s.passed, s.failed, s.skipped, s.seconds,
      s.complete ? "" : "; the budget ran out");
  return run;
}

}  // namespace bobbin::gradcheck_detail
