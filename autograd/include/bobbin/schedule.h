// Schedules: learning rates as functions of the step, optimizer.lr = rate(step). Steps count from 0. A call
// throws ValueError for a negative step, and for fields outside their domain: rates are finite and not
// negative.
#pragma once
#include <cstdint>
#include <limits>

namespace bobbin::optim {

/// `start`, multiplied by gamma after every `every` steps.
struct StepDecay {
  double start;        ///< rate of step 0
  std::int64_t every;  ///< steps between decreases, 1 or more
  double gamma = 0.1;  ///< factor of each decrease, finite and not negative
  /// The rate of this step.
  double operator()(std::int64_t step) const;
};

/// Increases linearly over the first `warm_up` steps, from peak / warm_up to peak; then decreases linearly to
/// `end` after the last step.
struct Linear {
  double peak;               ///< the highest rate
  std::int64_t steps;        ///< of the whole training
  std::int64_t warm_up = 0;  ///< of these, the rise; may exceed them
  double end = 0;            ///< rate after the last step
  /// The rate of this step.
  double operator()(std::int64_t step) const;
};

/// Like Linear, but decreases along a half cosine (Loshchilov and Hutter, arXiv:1608.03983, without
/// restarts).
struct Cosine {
  double peak;               ///< the highest rate
  std::int64_t steps;        ///< of the whole training
  std::int64_t warm_up = 0;  ///< of these, the rise; may exceed them
  double end = 0;            ///< rate after the last step
  /// The rate of this step.
  double operator()(std::int64_t step) const;
};

/// Smith and Topin's one cycle (arXiv:1708.07120): increases from peak / 25 to peak over the fraction
/// `warm_up` of the steps, then decreases towards 0, both along a cosine.
struct OneCycle {
  double peak;            ///< the highest rate
  std::int64_t steps;     ///< of the whole training, 1 or more
  double warm_up = 0.25;  ///< fraction of the steps, in [0, 1]
  /// The rate of step 0, 1, ... steps - 1.
  double operator()(std::int64_t step) const;
};

/// Multiplies the rate by `factor` if the loss has not improved by the fraction `threshold` of its magnitude
/// for more than `patience` calls. A loss of NaN is no improvement.
struct Plateau {
  double rate;              ///< the present rate; set it to the first one
  double factor = 0.1;      ///< of each decrease, in [0, 1]
  int patience = 10;        ///< calls without a better loss before a decrease
  double threshold = 1e-4;  ///< the fraction by which a loss must improve
  double least = 0;         ///< the lowest rate
  /// The rate after this loss.
  double operator()(double loss);

  double best = std::numeric_limits<double>::infinity();  ///< the lowest loss so far
  int bad = 0;                                            ///< calls since the best one
};

}  // namespace bobbin::optim
