// The kinds of edges. Each function gives the checks of one operation in one dtype on one device; none where
// the kind does not apply.
#pragma once
#include <string>
#include <vector>

#include "autograd/gradcheck/checks/checks.h"

namespace bobbin::gradcheck_detail {

/// What a check of edges runs on.
struct EdgeOptions {
  DType dtype = DType::f32;
  Device device = Device::cpu();
  std::uint64_t seed = 1;
  std::string sample = "*";  ///< pattern of the samples' notes
};

/// Each sample with its inputs and cotangents multiplied by powers of two, compared with f64. In f64 itself,
/// the results at 2^60 and 2^70 times the inputs, where they differ by a power of two alone, say what those
/// at larger powers must be.
std::vector<CheckResult> check_scales(const OpInfo&, const EdgeOptions&);
/// Zeros, subnormal, tiny, huge and infinite numbers and NaN as elements of each input, compared with f64.
std::vector<CheckResult> check_classes(const OpInfo&, const EdgeOptions&);
/// Reductions, losses and norms of 70,000 elements, more than f16 counts, compared with f64.
std::vector<CheckResult> check_counts(const OpInfo&, const EdgeOptions&);
/// Functions of one number far from 0, with both derivatives, compared with closed forms in long double.
std::vector<CheckResult> check_tails(const OpInfo&, const EdgeOptions&);
/// The documented values and gradients at infinities, NaN and ties.
std::vector<CheckResult> check_rules(const OpInfo&, const EdgeOptions&);

/// The operations that each table has entries for.
std::vector<std::string> counted_operations();
std::vector<std::string> operations_with_tails();
std::vector<std::string> operations_with_rules();

}  // namespace bobbin::gradcheck_detail
