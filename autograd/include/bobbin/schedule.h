// Learning rates as functions of the step: optimizer.lr = rate(step). Steps count from 0.
#pragma once
#include <cstdint>
#include <limits>

namespace bobbin::optim {

/// `start`, times gamma after every `every` steps.
struct StepDecay {
  double start;
  std::int64_t every;
  double gamma = 0.1;
  double operator()(std::int64_t step) const;
};

/// Up from 0 to peak over the first `warm_up` steps, then down to `end` at the last, along a line.
struct Linear {
  double peak;
  std::int64_t steps, warm_up = 0;
  double end = 0;
  double operator()(std::int64_t step) const;
};

/// The same along a half cosine (Loshchilov and Hutter, arXiv:1608.03983, without restarts).
struct Cosine {
  double peak;
  std::int64_t steps, warm_up = 0;
  double end = 0;
  double operator()(std::int64_t step) const;
};

/// Smith and Topin's one cycle (arXiv:1708.07120): from peak / 25 up to peak over the first `warm_up` of the
/// steps, then down towards 0, both along a cosine.
struct OneCycle {
  double peak;
  std::int64_t steps;
  double warm_up = 0.25;  ///< fraction of the steps, in [0, 1]
  /// The rate of step 0, 1, ... steps - 1.
  double operator()(std::int64_t step) const;
};

/// Times `factor` whenever a loss has not improved by `threshold` of itself for more than `patience` calls.
struct Plateau {
  double rate, factor = 0.1;
  int patience = 10;
  double threshold = 1e-4, least = 0;
  /// The rate after this loss.
  double operator()(double loss);

  double best = std::numeric_limits<double>::infinity();
  int bad = 0;  ///< calls since the best one
};

}  // namespace bobbin::optim
