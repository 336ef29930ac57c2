// The program gradcheck: finds the requested operations, and runs one of the modes on them.
#include <bobbin/gradcheck.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <system_error>
#include <utility>

#include "autograd/gradcheck/command_line.h"
#include "autograd/gradcheck/edges/edges.h"
#include "autograd/gradcheck/mutation/mutation.h"
#include "autograd/gradcheck/precision/precision.h"
#include "autograd/gradcheck/ranks.h"
#include "autograd/gradcheck/report/files.h"

namespace bobbin {
namespace {

using namespace gradcheck_detail;

struct UsageError : Error {
  using Error::Error;
};

// The number of letters that differ between two words (Levenshtein distance).
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

// The items whose names match one of the patterns. Every pattern must match an item.
template<class T>
std::vector<T> chosen(const std::vector<T>& all, const std::vector<std::string>& patterns,
                      std::string_view what) {
  std::vector<T> out;
  std::vector<bool> used(patterns.size());
  for (auto& item : all) {
    bool wanted = false;
    for (std::size_t i = 0; i < patterns.size(); ++i)
      if (matches(patterns[i], item.name)) wanted = used[i] = true;
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

// Opens a shared object and calls its `extern "C" void bobbin_register()`, which calls register_op and
// register_model. It stays open.
void load_plugin(const std::filesystem::path& path) {
  if (path.empty()) fail<IoError>("gradcheck --plugin: the name of the file is empty");
  // dlopen searches for a name without a slash in the directories of libraries, not in the current one.
  const auto whole = std::filesystem::absolute(path);
  void* const object = dlopen(whole.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!object) fail<IoError>("gradcheck --plugin: ", dlerror());
  auto* const enter = reinterpret_cast<void (*)()>(dlsym(object, "bobbin_register"));
  if (!enter)
    fail<IoError>("gradcheck --plugin: '", path.string(),
                  "' has no function extern \"C\" void bobbin_register()");
  try {
    enter();
  } catch (...) {
    fail<IoError>("gradcheck --plugin: '", path.string(), "' cannot be registered: ", caught());
  }
}

void list_mode(const std::vector<OpInfo>& ops, const Arguments& args, const std::vector<ModelInfo>& models) {
  std::vector<SampleCounts> counts;
  for (auto& op : ops) counts.push_back(count_samples(op, args.seed));
  if (!args.json.empty()) return write_list(args.json, ops, counts, models);
  SampleCounts all;
  for (std::size_t i = 0; i < ops.size(); ++i) {
    const SampleCounts& n = counts[i];
    all.valid += n.valid, all.edge += n.edge, all.invalid += n.invalid, all.checked += n.checked;
    fmt::print("{:<34} {:>3} valid samples, {:>2} of them edge cases; {:>2} invalid; {}\n", ops[i].name,
               n.valid, n.edge, n.invalid,
               ops[i].differentiable ? fmt::format("{} differenced", n.checked) : "no derivative");
  }
  for (auto& m : models) fmt::print("{:<34} model\n", m.name);
  fmt::print(
      "{} operations, {} valid samples, {} of them edge cases, {} invalid, {} differenced; {} models\n",
      ops.size(), all.valid, all.edge, all.invalid, all.checked, models.size());
}

ExitStatus mutation_mode(const std::vector<OpInfo>& ops, const Arguments& args) {
  const auto report =
      mutate(ops, {args.seed, args.budget, args.jobs}, [&](const Sample& s) { return passes(s, args.seed); });
  print(report);
  return exit_status(report.survived > 0, false, report.killed > 0);
}

Device device_of(const Arguments& args) { return args.device == "cuda" ? Device::cuda() : Device::cpu(); }

ExitStatus precision_mode(const std::vector<OpInfo>& ops, const Arguments& args) {
  const Device device = device_of(args);
  const auto dtypes = args.dtypes.empty() ? std::vector{DType::f64} : args.dtypes;
  const auto rows = compare_precision(ops, dtypes, device, args.seed, args.jobs);
  print(rows, args.verbose);
  return exit_status(std::ranges::any_of(rows, [](auto& row) { return !row.ok(); }), false,
                     std::ranges::any_of(rows, [](auto& row) { return row.total.runs > 0; }));
}

ExitStatus edge_mode(const std::vector<OpInfo>& ops, const Arguments& args) {
  EdgeRunOptions options{
      args.dtypes, device_of(args), args.seed,    args.sample,
      args.budget, args.jobs,       args.verbose, fmt::format("gradcheck --seed {}", args.seed)};
  for (auto& p : args.plugins) options.repeat += " --plugin " + quoted(p);
  const Run run = run_edges(ops, options);
  if (!args.json.empty()) write_json(args.json, run.results, run.summary);
  if (!args.junit.empty()) write_junit(args.junit, run.results);
  return exit_status(run.summary.failed > 0, false, run.summary.passed > 0);
}

ExitStatus rank_mode(const std::vector<ModelInfo>& models, const Arguments& args) {
  bool wrong = false;
  for (auto& model : models) {
    const std::string found = compare_ranks(model, args.ranks, args.seed);
    wrong = wrong || !found.empty();
    fmt::print("{}  {:<34} {}\n", found.empty() ? "PASS" : "FAIL", model.name,
               found.empty() ? fmt::format("{} ranks have the bits of one", args.ranks) : found);
  }
  return exit_status(wrong, false, !models.empty());
}

Shape parse_shape(const std::string& text) {
  Shape shape;
  if (std::ranges::count(text, 'x') >= max_rank)
    fail<UsageError>("--shape: expected at most ", max_rank, " sizes; got '", text, "'");
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('x', at), text.size());
    const std::string part = text.substr(at, end - at);
    if (part.empty() || part.size() > 9 || part.find_first_not_of("0123456789") != std::string::npos)
      fail<UsageError>("--shape: expected sizes such as 3x4; got '", text, "'");
    shape.push_back(std::stoll(part));
    at = end + 1;
  }
  std::int64_t elements = 1;  // or some number beyond the limit
  for (const std::int64_t size : shape) elements = std::min<std::int64_t>(elements * size, 1 << 17);
  if (elements < 1 || elements > 1 << 16)
    fail<UsageError>("--shape: expected 1 to 65536 elements; got '", text, "'");
  return shape;
}

ExitStatus derivative_mode(const std::vector<OpInfo>& ops, const std::vector<ModelInfo>& models,
                           const Arguments& args) {
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
  const Summary& s = run.summary;
  return exit_status(s.failed > 0, s.inconclusive > 0, s.passed > 0);
}

ExitStatus run(const Arguments& args) {
  for (auto& plugin : args.plugins) load_plugin(plugin);
  const bool all = args.ops.empty() && args.models.empty();
  const auto ops = all ? all_ops() : chosen(all_ops(), args.ops, "operation");
  const auto models = all ? all_models() : chosen(all_models(), args.models, "model");
  if (args.list) {
    list_mode(ops, args, models);
    return passed;
  }
  if (args.json == "-") fail<UsageError>("--json: a file is needed, but for --list");
  if (args.mutate) return mutation_mode(ops, args);
  std::string why;
  if (args.device == "cuda" && !cuda_available(&why)) {
    fmt::print(stderr, "gradcheck: {}\n", why);
    return no_device;
  }
  if (args.edges) return edge_mode(ops, args);
  if (args.ranks > 0) return rank_mode(models, args);
  const bool exact =
      args.device == "cpu" && std::ranges::all_of(args.dtypes, [](DType d) { return d == DType::f64; });
  return exact ? derivative_mode(ops, models, args) : precision_mode(ops, args);
}

int run_program(int argc, char** argv) try {
  Arguments args;
  if (const auto status = read_command_line(argc, argv, args)) return *status;
  return run(args);
} catch (const UsageError& e) {
  std::fprintf(stderr, "gradcheck: %s\n", e.what());
  return usage;
} catch (const IoError& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return file_trouble;
} catch (const std::system_error& e) {
  // What fmt::print could not write, the program reports at its end (tools/options/checked_output.cpp).
  if (!std::ferror(stdout)) std::fprintf(stderr, "gradcheck: %s\n", e.what());
  return file_trouble;
} catch (...) {
  std::fprintf(stderr, "gradcheck: %s\n", caught().c_str());
  return failed;
}

}  // namespace

int gradcheck_main(int argc, char** argv) {
  const int status = run_program(argc, argv);
  return std::fflush(stdout) == 0 && std::ferror(stdout) == 0 ? status : file_trouble;
}

}  // namespace bobbin
