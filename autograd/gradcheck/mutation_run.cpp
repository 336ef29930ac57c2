// Every mistake in every operation, and what became of it.
#include <bobbin/ops.h>
#include <bobbin/random.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "autograd/gradcheck/mutate.h"

namespace bobbin::gradcheck_detail {
namespace {

std::string reason(Mistake mistake, const Planted::Seen& seen) {
  if (mistake == Mistake::stale && !seen.keeps) return "nothing is kept for the derivative";
  if (mistake == Mistake::broadcast && !seen.repeats) return "no input is broadcast";
  if (!seen.nonzero) return "the gradient is 0";
  return fmt::format("the right gradients, bit for bit, in all {} calls", seen.calls);
}

}  // namespace

std::vector<Mutant> mutants(const OpInfo& op, std::uint64_t seed,
                            const std::function<bool(const Sample&)>& passes,
                            const std::function<bool()>& more) {
  std::vector<Mutant> out;
  if (!op.differentiable || !op.samples) return out;
  manual_seed(seed);
  const auto samples = op.samples();
  for (const Mistake mistake : mistakes) {
    if (!more()) break;
    Mutant m{std::string(op.name), mistake, 0, 0, {}, {}};
    Planted::Seen all;
    for (auto& sample : samples) {
      if (!sample.throws.empty() || !sample.differentiable) continue;
      Planted planted(op.name, mistake);
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

MutationReport mutate(std::span<const OpInfo> ops, std::uint64_t seed, double budget,
                      const std::function<bool(const Sample&)>& passes) {
  using Clock = std::chrono::steady_clock;
  const auto began = Clock::now();
  MutationReport report;
  const auto more = [&] {
    if (std::chrono::duration<double>(Clock::now() - began).count() < budget) return true;
    return report.complete = false;
  };
  for (auto& op : ops) {
    auto found = mutants(op, seed, passes, more);
    if (found.empty() && op.differentiable && report.complete) report.composites.emplace_back(op.name);
    for (Mutant& m : found) {
      ++(!m.survived.empty() ? report.survived : m.killed > 0 ? report.killed : report.equivalent);
      report.mutants.push_back(std::move(m));
    }
  }
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
    fmt::print("{} {:<34} {:>2} of {:>2} killed, in {:>3} checks; {} equivalent\n",
               survived ? "FAIL" : "ok  ", all[begin].op, killed, killed + survived, samples, equivalent);
    for (std::size_t i = begin; i < end; ++i)
      if (!all[i].survived.empty())
        fmt::print("     survived: {} in: {}\n", name(all[i].mistake), fmt::join(all[i].survived, "; "));
  }
  // Mistakes that no check could find, by what they are and why.
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
