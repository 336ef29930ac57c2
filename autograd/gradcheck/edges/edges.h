// The mode of gradcheck that runs every operation at the edges of the dtypes: at the ends of their range,
// with more elements than they count, at NaN and infinities, and in the tails of functions.
#pragma once
#include <span>

#include "autograd/gradcheck/checks/checks.h"
#include "autograd/gradcheck/edges/exceptions.h"

namespace bobbin::gradcheck_detail {

struct EdgeRunOptions {
  std::vector<DType> dtypes;  ///< none: the four floating ones
  Device device = Device::cpu();
  std::uint64_t seed = 1;
  std::string sample = "*";
  double budget = 0;
  int jobs = 1;
  bool verbose = false;
  std::string repeat;  ///< the part of the command line that repeats any of the checks
};

/// All kinds of checks of one operation in one dtype.
std::vector<CheckResult> check_edges(const OpInfo&, DType, const EdgeRunOptions&);
/// All operations in all dtypes. Prints a row for each operation, and each failure.
Run run_edges(std::span<const OpInfo>, const EdgeRunOptions&);

}  // namespace bobbin::gradcheck_detail
