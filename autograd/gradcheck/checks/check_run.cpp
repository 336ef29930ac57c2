// The mode that compares derivatives with the oracles: prints its rows, failures and totals.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "autograd/gradcheck/checks/checks.h"

namespace bobbin::gradcheck_detail {
namespace {

void print_failure(const CheckResult& r, const RunOptions& options, bool model) {
  fmt::print("{} {} ({}), {}: {}\n", name(r.report.verdict), r.op, r.sample, r.check,
             r.report.mismatches.empty() ? r.report.failure : "the worst, and with which cotangent");
  for (auto& m : r.report.mismatches) fmt::print("       {}\n", describe(m));
  fmt::print("       again: {} --{} {}{} {}\n", options.repeat, model ? "model" : "op", r.op,
             model ? "" : " --sample " + quoted(r.sample), r.again);
}

void print_results(std::span<const CheckResult> results, const RunOptions& options, bool model) {
  if (results.empty()) return;
  const Summary s = summarize(results);
  Verdict all = s.passed > 0 ? Verdict::pass : Verdict::skip;
  double worst = 0, seconds = 0;
  for (auto& r : results) {
    const bool counts = r.report.verdict != Verdict::pass && r.report.verdict != Verdict::skip;
    if (counts && r.report.verdict < all) all = r.report.verdict;
    if (!(r.report.worst <= worst)) worst = r.report.worst;
    seconds += r.seconds;
    if (counts) print_failure(r, options, model);
  }
  print_row(fmt::format("{:<12}", name(all)), results.front().op,
            fmt::format("{:>4} samples {:>5} checks {:>7} derivatives {:>9.1e} {:>7.2f} s", s.samples,
                        s.checks, s.derivatives, worst, seconds));
  if (!options.verbose) return;
  for (auto& r : results)
    fmt::print("  {:<10} {}, {}: {} derivatives, worst {:.1e}{}{}\n", name(r.report.verdict), r.sample,
               r.check, r.report.elements, r.report.worst, r.report.failure.empty() ? "" : "; ",
               r.report.failure);
}

}  // namespace

std::string quoted(const std::string& s) {
  std::string out = "'";
  for (const char c : s) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

Summary summarize(std::span<const CheckResult> results) {
  Summary s;
  std::set<std::string> ops;
  std::set<std::pair<std::string, std::string>> samples;
  for (auto& r : results) {
    ops.insert(r.op);
    samples.emplace(r.op, r.sample);
    ++s.checks;
    const Verdict v = r.report.verdict;
    ++(v == Verdict::pass           ? s.passed
       : v == Verdict::skip         ? s.skipped
       : v == Verdict::inconclusive ? s.inconclusive
                                    : s.failed);
    s.derivatives += r.report.elements;
  }
  s.ops = static_cast<int>(ops.size());
  s.samples = static_cast<int>(samples.size());
  return s;
}

Run run_checks(std::span<const OpInfo> ops, std::span<const ModelInfo> models, const RunOptions& options) {
  Budget budget(options.budget);
  std::vector<std::string_view> names;
  for (auto& op : ops) names.push_back(op.name);
  for (auto& model : models) names.push_back(model.name);
  std::vector<std::vector<CheckResult>> results(names.size());
  Run run;
  for_each_operation(
      names, options.jobs,
      [&](std::size_t i) {
        if (i < ops.size())
          results[i] = check_op(ops[i], options.check, budget);
        else if (budget.left())
          results[i] = check_model(models[i - ops.size()], options.check);
      },
      [&](std::size_t i) {
        print_results(results[i], options, i >= ops.size());
        std::ranges::move(results[i], std::back_inserter(run.results));
      });
  Summary& s = run.summary = summarize(run.results);
  s.seconds = budget.passed();
  s.complete = budget.left();
  fmt::print(
      "{} operations, {} samples, {} checks of {} derivatives: {} passed, {} failed, {} inconclusive, {} "
      "skipped; {:.2f} s{}\n",
      s.ops, s.samples, s.checks, s.derivatives, s.passed, s.failed, s.inconclusive, s.skipped, s.seconds,
      s.complete ? "" : "; the budget ran out");
  return run;
}

}  // namespace bobbin::gradcheck_detail
