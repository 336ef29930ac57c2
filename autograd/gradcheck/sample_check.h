// Everything that is checked of the samples of an operation, and of a model.
#pragma once
#include <bobbin/gradcheck.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "autograd/gradcheck/storage.h"

namespace bobbin::gradcheck_detail {

struct CheckOptions {
  std::uint64_t seed = 1;
  std::vector<int> orders{1, 2};
  std::vector<Layout> layouts{Layout::contiguous, Layout::strided, Layout::expanded};
  std::string sample = "*";    ///< pattern of the samples' notes
  std::optional<Shape> shape;  ///< of the first input, and of those that share its shape
};

struct CheckResult {
  std::string op, sample;
  std::string check;  ///< "differences, order 1", "dual numbers, order 2", "strided", "rows", ...
  std::string again;  ///< options that repeat it
  double seconds = 0;
  GradcheckReport report;
};

/// Valid, invalid and edge-case samples: those with an empty, one-element or not finite input.
struct SampleCounts {
  int valid = 0, edge = 0, invalid = 0, checked = 0;
};
SampleCounts count_samples(const OpInfo&, std::uint64_t seed);

/// The checks of all samples that fit, in order, as long as `more` says so.
std::vector<CheckResult> check_op(const OpInfo&, const CheckOptions&, const std::function<bool()>& more);
/// Gradients against differences and the slope of the Taylor remainder.
std::vector<CheckResult> check_model(const ModelInfo&, const CheckOptions&);

}  // namespace bobbin::gradcheck_detail
