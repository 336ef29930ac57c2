#include <bobbin/gradcheck.h>
#include <bobbin/random.h>
#include <fmt/format.h>
#include <fnmatch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <thread>

#include "autograd/gradcheck/check_run.h"
#include "autograd/gradcheck/mutate.h"
#include "autograd/gradcheck/plugin.h"
#include "autograd/gradcheck/precision.h"

namespace bobbin {
namespace {

using namespace gradcheck_detail;
constexpr int passed = 0, failed = 1, usage = 2, nothing_ran = 3, file_trouble = 4, no_device = 5;

struct Arguments {
  bool list = false, verbose = false, mutate = false;
  std::vector<std::string> ops, models;
  std::string sample = "*", shape, device = "cpu", json, junit, png;
  std::vector<std::string> plugins;
  int order = 0;  // 0: both
  std::uint64_t seed = 1;
  double budget = 0;  // 0: none
  int jobs = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::vector<DType> dtypes;
  std::vector<Layout> layouts;
};

struct UsageError : Error {
  using Error::Error;
};

// How many letters must change to make one word the other (Levenshtein).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j)
      diagonal =
          std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])}));
  }
  return row.back();
}

// Those of `all` whose names fit one of the patterns.
template<class T>
std::vector<T> chosen(const std::vector<T>& all, const std::vector<std::string>& patterns,
                      std::string_view what) {
  std::vector<T> out;
  std::vector<bool> used(patterns.size());
  for (auto& item : all) {
    bool wanted = false;
    for (std::size_t i = 0; i < patterns.size(); ++i)
      if (fnmatch(patterns[i].c_str(), std::string(item.name).c_str(), 0) == 0) wanted = used[i] = true;
    if (wanted) out.push_back(item);
  }
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    if (used[i]) continue;
    const auto nearest =
        std::ranges::min_element(all, {}, [&](const T& item) { return distance(patterns[i], item.name); });
    fail<UsageError>("no ", what, " is named '", patterns[i], "'; did you mean '", nearest->name,
                     "'? --list shows all");
  }
  return out;
}

void list(const std::vector<OpInfo>& ops, const Arguments& args, const std::vector<ModelInfo>& models) {
  SampleCounts all;
  nlohmann::ordered_json out;
  for (auto& op : ops) {
    const auto n = count_samples(op, args.seed);
    all.valid += n.valid, all.edge += n.edge, all.invalid += n.invalid, all.checked += n.checked;
    out["operations"].push_back({{"name", op.name},
                                 {"differentiable", op.differentiable},
                                 {"cuda", op.has_cuda},
                                 {"valid", n.valid},
                                 {"edge", n.edge},
                                 {"invalid", n.invalid},
                                 {"differenced", n.checked}});
    if (args.json.empty())
      fmt::print("{:<34} {:>3} valid samples, {:>2} of them edge cases; {:>2} invalid; {}\n", op.name,
                 n.valid, n.edge, n.invalid,
                 op.differentiable ? fmt::format("{} differenced", n.checked) : "no derivative");
  }
  for (auto& m : models) {
    out["models"].push_back(m.name);
    if (args.json.empty()) fmt::print("{:<34} model\n", m.name);
  }
  if (args.json.empty())
    fmt::print(
        "{} operations, {} valid samples, {} of them edge cases, {} invalid, {} differenced; {} models\n",
        ops.size(), all.valid, all.edge, all.invalid, all.checked, models.size());
  else if (args.json == "-")
    fmt::print("{}\n", out.dump(1));
  else
    write_text("gradcheck --json", args.json, out.dump(1) + "\n");
}

// Plants mistakes: exits with `failed` where one was not found.
int mutate(const std::vector<OpInfo>& ops, const Arguments& args) {
  const double budget = args.budget > 0 ? args.budget : std::numeric_limits<double>::infinity();
  const auto report =
      gradcheck_detail::mutate(ops, args.seed, budget, [&](const Sample& s) { return passes(s, args.seed); });
  print(report);
  if (report.survived > 0) return failed;
  return report.killed > 0 ? passed : nothing_ran;
}

// Narrow types and the GPU against f64 on the CPU.
int compare(const std::vector<OpInfo>& ops, const Arguments& args) {
  std::string why;
  if (args.device == "cuda" && !cuda_available(&why)) {
    fmt::print(stderr, "gradcheck: {}\n", why);
    return no_device;
  }
  const Device device = args.device == "cuda" ? Device::cuda() : Device::cpu();
  std::vector<PrecisionRow> rows;
  for (const DType dtype : args.dtypes.empty() ? std::vector{DType::f64} : args.dtypes)
    for (auto& row : compare_precision(ops, dtype, device, args.seed)) rows.push_back(row);
  print(rows, args.verbose);
  if (std::ranges::any_of(rows, [](auto& row) { return !row.ok(); })) return failed;
  return std::ranges::any_of(rows, [](auto& row) { return row.total.runs > 0; }) ? passed : nothing_ran;
}

Shape parse_shape(const std::string& text) {
  Shape shape;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('x', at), text.size());
    const std::string part = text.substr(at, end - at);
    if (part.empty() || part.size() > 9 || part.find_first_not_of("0123456789") != std::string::npos)
      fail<UsageError>("--shape: expected sizes such as 3x4; got '", text, "'");
    shape.push_back(std::stoll(part));
    at = end + 1;
  }
  if (numel(shape) < 1 || numel(shape) > 1 << 16)
    fail<UsageError>("--shape: expected 1 to 65536 elements; got '", text, "'");
  return shape;
}

int check(const std::vector<OpInfo>& ops, const std::vector<ModelInfo>& models, const Arguments& args) {
  RunOptions options;
  options.check.seed = args.seed;
  options.check.sample = args.sample;
  if (args.order != 0) options.check.orders = {args.order};
  if (!args.layouts.empty()) options.check.layouts = args.layouts;
  options.repeat = fmt::format("gradcheck --seed {}", args.seed);
  for (auto& p : args.plugins) options.repeat += " --plugin " + quoted(p);
  if (!args.shape.empty()) {
    options.check.shape = parse_shape(args.shape);
    options.repeat += " --shape " + args.shape;
  }
  options.budget = args.budget;
  options.jobs = args.jobs;
  options.verbose = args.verbose;
  const Run run = run_checks(ops, models, options);
  if (!args.json.empty()) write_json(args.json, run.results, run.summary);
  if (!args.junit.empty()) write_junit(args.junit, run.results);
  if (!args.png.empty() && !write_png(args.png, run.results))
    fmt::print(stderr, "gradcheck: nothing was compared with differences, so '{}' was not written\n",
               args.png);
  if (run.summary.failed > 0) return failed;
  return run.summary.inconclusive > 0 || run.summary.passed == 0 ? nothing_ran : passed;
}

int run(const Arguments& args) {
  for (auto& plugin : args.plugins) load_plugin(plugin);
  const bool all = args.ops.empty() && args.models.empty();
  const auto ops = all ? all_ops() : chosen(all_ops(), args.ops, "operation");
  const auto models = all ? all_models() : chosen(all_models(), args.models, "model");
  if (args.list) {
    list(ops, args, models);
    return passed;
  }
  if (args.json == "-") fail<UsageError>("--json: a file is needed, but for --list");
  if (args.mutate) return mutate(ops, args);
  const bool exact =
      args.device == "cpu" && std::ranges::all_of(args.dtypes, [](DType d) { return d == DType::f64; });
  return exact ? check(ops, models, args) : compare(ops, args);
}

void declare(CLI::App& app, Arguments& args) {
  app.add_flag("--list", args.list, "List the operations with their samples, and the models");
  app.add_option("--op", args.ops, "Operation to check, or a pattern such as 'log*'; may be repeated");
  app.add_option("--model", args.models, "Model to check, or a pattern; may be repeated");
  app.add_option("--plugin", args.plugins, "Shared object that registers more of them; may be repeated");
  app.add_option("--sample", args.sample, "Samples to check, by name or pattern");
  app.add_option("--order", args.order, "1: gradients, 2: gradients of gradients; both if left out")
      ->check(CLI::IsMember({1, 2}));
  app.add_option("--shape", args.shape, "Shape of the first input, such as 3x4, instead of the samples' own");
  const std::map<std::string, Layout> layouts{
      {"contiguous", Layout::contiguous}, {"strided", Layout::strided}, {"expanded", Layout::expanded}};
  app.add_option(
         "--layout", args.layouts,
         "contiguous: compare with differences and dual numbers; strided, expanded: compare inputs that "
         "lie so with contiguous ones; all if left out")
      ->transform(CLI::CheckedTransformer(layouts));
  app.add_option("--seed", args.seed, "Seed of the inputs and cotangents");
  app.add_option("--budget", args.budget, "Seconds after which no check begins")->check(CLI::PositiveNumber);
  app.add_option("--jobs", args.jobs, "Threads; all processors if left out")->check(CLI::Range(1, 1024));
  app.add_flag("--mutate", args.mutate,
               "Plant twelve kinds of mistakes in every derivative: all must be found");
  const std::map<std::string, DType> dtypes{
      {"f64", DType::f64}, {"f32", DType::f32}, {"bf16", DType::bf16}, {"f16", DType::f16}};
  app.add_option("--dtype", args.dtypes, "Compare results of this dtype with f64 on the CPU; may be repeated")
      ->transform(CLI::CheckedTransformer(dtypes));
  app.add_option("--device", args.device, "Compare results of this device with the CPU's: cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--json", args.json, "Write all results to this file; of --list to stdout if left out")
      ->expected(0, 1)
      ->default_str("-");
  app.add_option("--junit", args.junit, "Write all results to this file, as JUnit XML");
  app.add_option("--png", args.png, "Draw the errors of the first failure, or of the largest error");
  app.add_flag("-v,--verbose", args.verbose, "Print every check");
  app.footer(
      "Exits with 0 when all passed, 1 on a failure, 2 on bad usage, 3 when nothing ran or something stayed "
      "inconclusive, 4 when a file could not be read or written, 5 without the device.");
}

}  // namespace

int gradcheck_main(int argc, char** argv) {
  Arguments args;
  CLI::App app("Checks the derivatives of operations and models, and what their calls leave behind.");
  declare(app, args);
  try {
    app.parse(argc, argv);
    return run(args);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help
    fmt::print(stderr, "gradcheck: {} (--help lists the options)\n", e.what());
    return usage;
  } catch (const UsageError& e) {
    fmt::print(stderr, "gradcheck: {}\n", e.what());
    return usage;
  } catch (const IoError& e) {
    fmt::print(stderr, "{}\n", e.what());
    return file_trouble;
  }
}

}  // namespace bobbin
