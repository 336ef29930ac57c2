// Learning rates as functions of the step.
#pragma once
#include <cstdint>

namespace bobbin::optim {

/// Smith and Topin's one cycle (arXiv:1708.07120): from peak / 25 up to peak over the first `warm_up` of the
/// steps, then down towards 0, both along a cosine.
struct OneCycle {
  double peak;
  std::int64_t steps;
  double warm_up = 0.25;  ///< fraction of the steps, in [0, 1]
  /// The rate of step 0, 1, ... steps - 1.
  double operator()(std::int64_t step) const;
};

}  // namespace bobbin::optim
