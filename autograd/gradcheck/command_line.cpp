// Reads the options of the program gradcheck.
#include "autograd/gradcheck/command_line.h"

#include <bobbin/config.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>

#include "autograd/gradcheck/report/driver.h"

namespace bobbin::gradcheck_detail {
namespace {

void declare(CLI::App& app, Arguments& args) {
  app.set_version_flag("--version", "gradcheck (Bobbin) " BOBBIN_VERSION, "Print the version and exit");
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
  app.add_option("--seed", args.seed, "Seed of the inputs and cotangents")
      ->check([](const std::string& text) {  // CLI11 2.1 reads -1 as the largest number
        return text.find('-') == text.npos ? std::string() : "expected a number of at least 0; got " + text;
      });
  app.add_option("--budget", args.budget, "Seconds after which no check begins")->check(CLI::PositiveNumber);
  app.add_option("--jobs", args.jobs, "Threads; all processors if left out")->check(CLI::Range(1, 1024));
  app.add_flag("--mutate", args.mutate,
               "Plant twelve kinds of mistakes in every derivative: all must be found");
  app.add_flag(
         "--edges", args.edges,
         "Run at the ends of the dtypes' ranges, with more elements than f16 counts, at NaN and "
         "infinities, and in the tails of functions, values and two orders of derivatives: compare with "
         "f64, closed forms and documented rules. With --dtype: in these dtypes, or else in all")
      ->excludes("--mutate");
  app.add_option("--ranks", args.ranks,
                 "Train the models in this many processes, which must give the bits of one process")
      ->check(CLI::Range(1, 64))
      ->excludes("--mutate")
      ->excludes("--edges")
      ->excludes("--op");
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

std::optional<int> read_command_line(int argc, char** argv, Arguments& args) {
  CLI::App app("Checks the derivatives of operations and models, and what their calls leave behind.");
  declare(app, args);
  try {
    app.parse(argc, argv);
    return {};
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    fmt::print(stderr, "gradcheck: {} (--help lists the options)\n", e.what());
    return usage;
  }
}

}  // namespace bobbin::gradcheck_detail
