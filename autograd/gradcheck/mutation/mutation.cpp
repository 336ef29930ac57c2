// The mode that makes every mistake in every operation's derivative, and its table.
#include "autograd/gradcheck/mutation/mutation.h"

#include <bobbin/random.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>

#include "autograd/gradcheck/checks/checks.h"
#include "autograd/gradcheck/oracles/dual_oracle.h"

namespace bobbin::gradcheck_detail {
namespace {

std::string reason(Mistake mistake, const Planted::Seen& seen) {
  if (mistake == Mistake::stale && !seen.keeps) return "nothing is kept for the derivative";
  if (mistake == Mistake::broadcast && !seen.repeats) return "no input is broadcast";
  if (!seen.nonzero) return "the gradient is 0";
  return fmt::format("the right gradients, bit for bit, in all {} calls", seen.calls);
}

// The mutants of one operation; none if its derivative is never called.
std::vector<Mutant> mutants(const OpInfo& op, std::uint64_t seed,
                            const std::function<bool(const Sample&)>& passes, Budget& budget) {
  std::vector<Mutant> out;
  if (!op.differentiable) return out;
  auto samples = valid_samples(op, seed);
  std::erase_if(samples, [](const Sample& s) { return !s.differentiable; });
  for (const Mistake mistake : mistakes) {
    if (!budget.left()) break;
    Mutant m{std::string(op.name), mistake, 0, 0, {}, {}};
    Planted::Seen all;
    for (auto& sample : samples) {
      const Planted planted(op.name, mistake);
      const bool passed = passes(sample);
      const Planted::Seen& seen = planted.seen();
      all.calls += seen.calls;
      all.keeps |= seen.keeps, all.repeats |= seen.repeats, all.nonzero |= seen.nonzero;
      if (seen.changed == 0)
        ++m.equivalent;
      else if (passed)
        m.survived.push_back(sample.note);
      else
        ++m.killed;
    }
    if (all.calls == 0) return {};
    if (m.killed == 0 && m.survived.empty()) m.why = reason(mistake, all);
    out.push_back(std::move(m));
  }
  return out;
}

}  // namespace

bool passes(const Sample& sample, std::uint64_t seed) try {
  for (const int order : {1, 2}) {
    const auto report = gradcheck(sample.call, sample.inputs, {.order = order, .seed = seed});
    if (!report.ok() && report.verdict != Verdict::skip) return false;
  }
  manual_seed(seed);
  for (const int order : {1, 2})
    if (!check_steps(sample, order).failed.empty()) return false;
  return true;
} catch (...) {
  return false;
}

MutationReport mutate(std::span<const OpInfo> ops, const MutationOptions& options,
                      const std::function<bool(const Sample&)>& passes) {
  Budget budget(options.budget);
  std::vector<std::string_view> names;
  for (auto& op : ops) names.push_back(op.name);
  std::vector<std::vector<Mutant>> found(ops.size());
  std::vector<char> composite(ops.size());
  MutationReport report;
  for_each_operation(
      names, options.jobs,
      [&](std::size_t i) {
        found[i] = mutants(ops[i], options.seed, passes, budget);
        composite[i] = found[i].empty() && ops[i].differentiable && !budget.ran_out();
      },
      [&](std::size_t i) {
        if (composite[i]) report.composites.emplace_back(ops[i].name);
        for (Mutant& m : found[i]) {
          ++(!m.survived.empty() ? report.survived : m.killed > 0 ? report.killed : report.equivalent);
          report.mutants.push_back(std::move(m));
        }
      });
  report.complete = !budget.ran_out();
  return report;
}

void print(const MutationReport& report) {
  const auto& all = report.mutants;
  for (std::size_t begin = 0, end; begin < all.size(); begin = end) {
    int killed = 0, survived = 0;
    std::size_t samples = 0;
    for (end = begin; end < all.size() && all[end].op == all[begin].op; ++end) {
      killed += all[end].killed > 0 && all[end].survived.empty();
      survived += !all[end].survived.empty();
      samples += static_cast<std::size_t>(all[end].killed);
    }
    const int equivalent = static_cast<int>(end - begin) - killed - survived;
    print_row(survived ? "FAIL" : "ok  ", all[begin].op,
              fmt::format("{:>2} of {:>2} killed, in {:>3} checks; {} equivalent", killed, killed + survived,
                          samples, equivalent));
    for (std::size_t i = begin; i < end; ++i)
      if (!all[i].survived.empty())
        fmt::print("     survived: {} in: {}\n", name(all[i].mistake), fmt::join(all[i].survived, "; "));
  }
  // Mistakes that change no gradient, by kind and reason.
  std::map<std::pair<std::string_view, std::string>, std::vector<std::string>> equivalent;
  for (auto& m : all)
    if (!m.why.empty()) equivalent[{name(m.mistake), m.why}].push_back(m.op);
  for (auto& [what, ops] : equivalent)
    fmt::print("equivalent: {}, as {}: {}\n", what.first, what.second, fmt::join(ops, ", "));
  if (!report.composites.empty())
    fmt::print("made of other operations, without a derivative of their own: {}\n",
               fmt::join(report.composites, ", "));
  const int meant = report.killed + report.survived;
  fmt::print("{} mutants: {} of {} killed ({:.1f} %), {} survived, {} equivalent{}\n", all.size(),
             report.killed, meant, meant > 0 ? 100.0 * report.killed / meant : 0, report.survived,
             report.equivalent, report.complete ? "" : "; the budget ran out");
}

}  // namespace bobbin::gradcheck_detail
