// Checks of many operations: by several threads, within a budget, told line by line.
#pragma once
#include <chrono>
#include <string>
#include <vector>

#include "autograd/gradcheck/report_files.h"

namespace bobbin::gradcheck_detail {

struct RunOptions {
  CheckOptions check;
  double budget = 0;  ///< seconds; no check begins after them
  int jobs = 1;
  bool verbose = false;
  std::string repeat;  ///< the command line that all checks share, to be repeated
};

/// What a shell takes for one word.
std::string quoted(const std::string&);

struct Run {
  std::vector<CheckResult> results;  ///< in the order of the operations
  Summary summary;
};
/// Prints a line an operation and model, each failure with its worst elements, and the sum.
Run run_checks(std::span<const OpInfo>, std::span<const ModelInfo>, const RunOptions&);

}  // namespace bobbin::gradcheck_detail
