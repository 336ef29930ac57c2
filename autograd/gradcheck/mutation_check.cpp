#include <bobbin/gradcheck.h>
#include <bobbin/random.h>

#include "autograd/gradcheck/dual_oracle.h"
#include "autograd/gradcheck/mutate.h"

namespace bobbin::gradcheck_detail {
bool passes(const Sample& sample, std::uint64_t seed) try {
  for (const int order : {1, 2}) {
    const auto report = gradcheck(sample.call, sample.inputs, {.order = order, .seed = seed});
    if (!report.ok() && report.verdict != Verdict::skip) return false;
  }
  manual_seed(seed);
  for (const int order : {1, 2})
    if (!check_steps(sample, order).failed.empty()) return false;
  return true;
} catch (const Error&) {
  return false;
}

}  // namespace bobbin::gradcheck_detail
