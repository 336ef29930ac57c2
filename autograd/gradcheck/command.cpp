#include <bobbin/gradcheck.h>
#include <bobbin/random.h>
#include <fmt/format.h>
#include <fnmatch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <limits>
#include <map>
#include <vector>

#include "dual_oracle.h"
#include "mutate.h"
#include "precision.h"

namespace bobbin {
namespace {

constexpr int passed = 0, failed = 1, usage = 2, nothing_ran = 3, no_device = 5;

struct Arguments {
  bool list = false, verbose = false;
  std::vector<std::string> ops;
  int order = 0;  // 0: both
  std::uint64_t seed = 1;
  bool mutate = false;
  double budget = std::numeric_limits<double>::infinity();
  std::vector<DType> dtypes;
  std::string device = "cpu";
};

struct Tally {
  int samples = 0, checks = 0, failures = 0;
  std::int64_t elements = 0;
  double worst = 0;
};

std::vector<OpInfo> chosen(const Arguments& args, std::string& unknown) {
  auto all = all_ops();
  if (args.ops.empty()) return all;
  std::vector<OpInfo> out;
  for (auto& pattern : args.ops) {
    const auto before = out.size();
    for (auto& op : all)
      if (fnmatch(pattern.c_str(), std::string(op.name).c_str(), 0) == 0) out.push_back(op);
    if (out.size() == before) unknown = pattern;
  }
  return out;
}

void list(const std::vector<OpInfo>& ops) {
  for (auto& op : ops) {
    manual_seed(1);
    const auto samples = op.samples ? op.samples() : std::vector<Sample>();
    const auto invalid =
        std::count_if(samples.begin(), samples.end(), [](auto& s) { return !s.throws.empty(); });
    fmt::print("{:<28} {:>3} samples, {:>2} of them invalid{}\n", op.name, samples.size(), invalid,
               op.differentiable ? "" : "; no derivative");
  }
}

// Oracle B, where the operation has a scalar reference.
void by_dual_numbers(const OpInfo& op, const Sample& sample, int order, Tally& tally) {
  const auto report = gradcheck_detail::check_steps(sample, order);
  tally.checks += report.compared > 0;
  tally.elements += report.compared;
  tally.failures += !report.failed.empty();
  if (report.failed.empty()) return;
  const auto& e = report.failed.front();
  fmt::print(
      "FAIL {} ({}): {}, order {}, {} {}, flat index {}: analytic {:.17g}, dual {:.17g}, tolerance {:.1e}\n",
      op.name, sample.note, e.op, order, e.input < 0 ? "cotangent" : "input", std::max(e.input, 0), e.index,
      e.analytic, e.dual, e.tolerance);
}

void check(const OpInfo& op, const Arguments& args, Tally& total) {
  Tally tally;
  if (op.differentiable && op.samples) {
    manual_seed(args.seed);
    for (auto& sample : op.samples()) {
      if (!sample.throws.empty()) continue;
      tally.samples += sample.differentiable;
      for (int order = 1; order <= 2; ++order) {
        if (args.order != 0 && args.order != order) continue;
        by_dual_numbers(op, sample, order, tally);
        if (!sample.differentiable) continue;
        const auto report = gradcheck(sample.call, sample.inputs, {.order = order, .seed = args.seed});
        ++tally.checks;
        tally.elements += report.elements;
        tally.failures += !report.ok;
        if (!(report.worst <= tally.worst)) tally.worst = report.worst;
        if (!report.ok)
          fmt::print("FAIL {} ({}): {}\n", op.name, sample.note, report.failure);
        else if (args.verbose)
          fmt::print("  ok {} ({}), order {}: {:.1e}\n", op.name, sample.note, order, report.worst);
      }
    }
  }
  if (tally.checks > 0)
    fmt::print("{:<4} {:<28} {:>3} checks {:>6} derivatives  worst {:.1e}\n", tally.failures ? "FAIL" : "ok",
               op.name, tally.checks, tally.elements, tally.worst);
  total.samples += tally.samples;
  total.checks += tally.checks;
  total.failures += tally.failures;
  total.elements += tally.elements;
}

// Plants mistakes: exits with `failed` where one was not found.
int mutate(const std::vector<OpInfo>& ops, const Arguments& args) {
  const auto report = gradcheck_detail::mutate(
      ops, args.seed, args.budget, [&](const Sample& s) { return gradcheck_detail::passes(s, args.seed); });
  gradcheck_detail::print(report);
  if (report.survived > 0) return failed;
  return report.killed > 0 && report.complete ? passed : nothing_ran;
}

// Narrow types and the GPU against f64 on the CPU.
int compare(const std::vector<OpInfo>& ops, const Arguments& args) {
  std::string why;
  if (args.device == "cuda" && !cuda_available(&why)) {
    fmt::print(stderr, "gradcheck: {}\n", why);
    return no_device;
  }
  const Device device = args.device == "cuda" ? Device::cuda() : Device::cpu();
  std::vector<gradcheck_detail::PrecisionRow> rows;
  for (const DType dtype : args.dtypes.empty() ? std::vector{DType::f64} : args.dtypes)
    for (auto& row : gradcheck_detail::compare_precision(ops, dtype, device, args.seed)) rows.push_back(row);
  gradcheck_detail::print(rows, args.verbose);
  if (std::ranges::any_of(rows, [](auto& row) { return !row.total.failed.empty(); })) return failed;
  return std::ranges::any_of(rows, [](auto& row) { return row.total.runs > 0; }) ? passed : nothing_ran;
}

}  // namespace

int gradcheck_main(int argc, char** argv) {
  Arguments args;
  CLI::App app("Compares the derivatives of operations with finite differences in f64.");
  app.add_flag("--list", args.list, "List the operations and their samples");
  app.add_option("--op", args.ops, "Operation to check, or a pattern such as 'log*'; may be repeated");
  app.add_option("--order", args.order, "1: gradients, 2: gradients of gradients; both if left out")
      ->check(CLI::IsMember({1, 2}));
  app.add_option("--seed", args.seed, "Seed of the inputs and cotangents");
  app.add_flag("--mutate", args.mutate,
               "Plant twelve kinds of mistakes in every derivative: all must be found");
  app.add_option("--budget", args.budget, "Seconds that --mutate may take");
  const std::map<std::string, DType> dtypes{
      {"f64", DType::f64}, {"f32", DType::f32}, {"bf16", DType::bf16}, {"f16", DType::f16}};
  app.add_option("--dtype", args.dtypes, "Compare results of this dtype with f64 on the CPU; may be repeated")
      ->transform(CLI::CheckedTransformer(dtypes));
  app.add_option("--device", args.device, "Compare results of this device with the CPU's: cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_flag("-v,--verbose", args.verbose, "Print every check");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? passed : usage;
  }
  std::string unknown;
  const auto ops = chosen(args, unknown);
  if (!unknown.empty()) {
    fmt::print(stderr, "gradcheck: no operation is named '{}'; --list shows them\n", unknown);
    return usage;
  }
  if (args.list) {
    list(ops);
    return passed;
  }
  if (args.mutate) return mutate(ops, args);
  const bool exact =
      args.device == "cpu" && std::ranges::all_of(args.dtypes, [](DType d) { return d == DType::f64; });
  if (!exact) return compare(ops, args);
  Tally total;
  for (auto& op : ops) check(op, args, total);
  fmt::print("{} operations, {} samples, {} checks, {} derivatives compared, {} failed\n", ops.size(),
             total.samples, total.checks, total.elements, total.failures);
  if (total.failures > 0) return failed;
  return total.checks > 0 ? passed : nothing_ran;
}

}  // namespace bobbin
