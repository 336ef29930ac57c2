// All checks of the samples of an operation and of a model, and the mode of gradcheck that runs them.
#pragma once
#include <bobbin/gradcheck.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/gradcheck/oracles/layout.h"
#include "autograd/gradcheck/report/driver.h"

namespace bobbin::gradcheck_detail {

struct CheckOptions {
  std::uint64_t seed = 1;
  std::vector<int> orders{1, 2};
  std::vector<Layout> layouts{Layout::contiguous, Layout::strided, Layout::expanded};
  std::string sample = "*";    ///< pattern of the samples' notes
  std::optional<Shape> shape;  ///< replaces the shape of the first input, and of inputs with the same shape
};

struct CheckResult {
  std::string op, sample;
  std::string check;  ///< "differences, order 1", "dual numbers, order 2", "strided", "rows", ...
  std::string again;  ///< options that repeat it
  double seconds = 0;
  GradcheckReport report;
};

/// Whether a shell's pattern such as "log*" matches the whole text.
bool matches(const std::string& pattern, std::string_view text);

/// The samples of an operation that are valid calls, drawn from `seed`; none if it has no samples.
std::vector<Sample> valid_samples(const OpInfo&, std::uint64_t seed);

/// Numbers of valid, invalid and edge-case samples. Edge cases have an empty, one-element or not finite
/// input.
struct SampleCounts {
  int valid = 0, edge = 0, invalid = 0, checked = 0;
};
SampleCounts count_samples(const OpInfo&, std::uint64_t seed);

/// The checks of all samples that match, in order, until the budget runs out.
std::vector<CheckResult> check_op(const OpInfo&, const CheckOptions&, Budget&);
/// Compares gradients with finite differences and measures the slope of the Taylor remainder.
std::vector<CheckResult> check_model(const ModelInfo&, const CheckOptions&);

struct Summary {
  int ops = 0, samples = 0, checks = 0;
  int passed = 0, failed = 0, inconclusive = 0, skipped = 0;  ///< checks
  std::int64_t derivatives = 0;
  double seconds = 0;
  bool complete = true;  ///< whether the budget was sufficient
};
Summary summarize(std::span<const CheckResult>);

struct RunOptions {
  CheckOptions check;
  double budget = 0;  ///< seconds after which no check is started; 0: no limit
  int jobs = 1;
  bool verbose = false;
  std::string repeat;  ///< the part of the command line that repeats any of the checks
};
struct Run {
  std::vector<CheckResult> results;  ///< in the order of the operations
  Summary summary;
};
/// Prints a row for each operation and model, each failure with its worst elements, and the totals.
Run run_checks(std::span<const OpInfo>, std::span<const ModelInfo>, const RunOptions&);

/// Puts quotes around the text, so that a shell reads it as one word.
std::string quoted(const std::string&);

}  // namespace bobbin::gradcheck_detail
