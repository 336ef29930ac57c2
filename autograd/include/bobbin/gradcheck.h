// Derivatives compared with finite differences.
#pragma once
#include <bobbin/ops.h>

#include <functional>
#include <string>

namespace bobbin {

struct GradcheckOptions {
  int order = 1;            ///< 1: gradients; 2: gradients of gradients
  double tolerance = 1e-8;  ///< |analytic - numeric| may be this times max(1, |numeric|)
  std::uint64_t seed = 1;   ///< of the cotangents
};

struct GradcheckReport {
  bool ok = true;
  std::int64_t elements = 0;  ///< derivatives compared
  double worst = 0;           ///< the largest |analytic - numeric| / max(1, |numeric|)
  std::string failure;        ///< the worst mismatch, or why nothing could be compared
};

/// Compares the derivatives of f at f64 inputs (others are held fixed) with central differences in f64,
/// extrapolated twice (Richardson). Outputs are weighted with random cotangents of either sign and magnitude
/// 0.5 to 1.5, never all alike, so that a wrong Jacobian cannot hide in a sum. NaN fails. f must be smooth
/// within 1/16 of each input. Throws what f throws; DTypeError when a floating input is not f64.
GradcheckReport gradcheck(const std::function<Tensor(Inputs)>& f, std::span<const Tensor> inputs,
                          const GradcheckOptions& = {});

/// The command line of tools/gradcheck over the catalogue, a user's registered operations included:
/// `int main(int argc, char** argv) { register_op<Mine>(); return bobbin::gradcheck_main(argc, argv); }`
/// Returns 0 when at least one check ran and all passed, 1 on a failure, 2 on bad usage, 3 when nothing ran.
int gradcheck_main(int argc, char** argv);

}  // namespace bobbin
