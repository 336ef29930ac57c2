// Derivatives compared with finite differences.
#pragma once
#include <bobbin/ops.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace bobbin {

/// What a check came to. The first that applies, from the top.
enum class Verdict {
  fail,              ///< a derivative is wrong
  saved_corrupted,   ///< the walk changed an input, or what was saved for it
  nondeterministic,  ///< the same call gave other bits
  nonsmooth,         ///< more than 5 % of the elements lie at kinks
  inconclusive,      ///< differences settle nowhere near enough
  skip,              ///< nothing could be compared
  pass,              ///< none of these
};
std::string_view name(Verdict);  ///< in capitals: "PASS"

/// What gradcheck compares, and how often.
struct GradcheckOptions {
  int order = 1;           ///< 1: gradients; 2: gradients of gradients, for the cotangent as well
  std::uint64_t seed = 1;  ///< of the cotangents
  int repeats = 20;        ///< calls, at order 1, that must give the same bits
  /// Of the first input's shape: the documented derivative of the result by each of its elements, where these
  /// lie at kinks on purpose. Its gradient must be the (broadcast) cotangent times this.
  Tensor at_kinks = {};
};

/// A derivative that is wrong or could not be judged. `numeric` is NaN where no number was wanted.
struct Mismatch {
  int order = 1;           ///< of the derivative
  int input = 0;           ///< its number; at order 2, the one after the last is the cotangent
  std::int64_t index = 0;  ///< flat, row-major
  Shape shape;             ///< of the input
  double analytic = 0;     ///< the derivative as the walk gave it
  double numeric = 0;      ///< what it should be
  double tolerance = 0;    ///< how far apart the two may be
  std::string cotangent;   ///< "random 1" to "random 3", "one-hot", "zero"
  std::string oracle;      ///< "differences", "one-sided differences", "exactly zero"
  double error() const;    ///< |analytic - numeric|
};
/// "input 0[1,2] (flat 5): analytic ..., numeric ..., ..." with the absolute and relative error and ULPs.
std::string describe(const Mismatch&);

/// What gradcheck found.
struct GradcheckReport {
  Verdict verdict = Verdict::pass;   ///< what it came to
  std::int64_t elements = 0;         ///< of inputs whose derivatives were compared, each for four cotangents
  std::int64_t nonsmooth = 0;        ///< of these, at kinks; the derivative lies between the one-sided ones
  std::int64_t inconclusive = 0;     ///< of these, where differences settle nowhere near enough
  double worst = 0;                  ///< the largest error by its tolerance: at most 1 where all is right
  std::vector<Mismatch> mismatches;  ///< the ten worst
  std::vector<Shape> shapes;         ///< of the inputs; at order 2, the last is the cotangent's
  std::vector<std::vector<double>> errors;  ///< by input, flat: the error by its tolerance
  std::string failure;  ///< one line: the worst mismatch, or what else is wrong; empty where ok
  /// Whether it passed.
  bool ok() const { return verdict == Verdict::pass; }
};

/// Compares the derivatives of f at f64 inputs (others are held fixed) with central differences in f64: three
/// steps, extrapolated twice (Richardson), whose disagreement says how far to trust them; on doubt twelve,
/// from 2^-4 to 2^-15 of the input. The outputs are weighted with four cotangents: three random ones of
/// either sign and magnitude 0.5 to 1.5, never all alike, so that a wrong Jacobian cannot hide in a sum, and
/// a one-hot. A derivative a passes where !(|a - T| > 16 est) and est <= 1e-9 of its scale, est being the
/// estimated error of T. NaN fails. Where the one-sided differences disagree there is a kink: a must lie
/// between them, and the element is moved away and checked again, up to three times. A zero cotangent must
/// give exact zeros. Besides, `repeats` calls must give the same bits, and the walk must leave inputs and
/// saved tensors alone. Throws what f throws; DTypeError when a floating input is not f64.
GradcheckReport gradcheck(const std::function<Tensor(Inputs)>& f, std::span<const Tensor> inputs,
                          const GradcheckOptions& = {});

/// How the remainder of the first-order Taylor expansion shrinks with the step.
struct TaylorReport {
  double slope = 0;                ///< of log remainder over log step: 2 where the gradient is right
  std::vector<double> steps;       ///< those that the slope is fitted to
  std::vector<double> remainders;  ///< at each of them
  /// Whether the slope is 2, within 0.1.
  bool ok() const { return !(slope < 1.9) && !(slope > 2.1); }
};
/// For whole models: |f(x + h d) - f(x) - h <g, d>| for random directions d over all f64 inputs and
/// steps that fall by halves, as long as the remainder stands out of rounding. f gives one number. Throws as
/// gradcheck does; ValueError where fewer than two decades of steps stand out: f is linear, or not smooth.
TaylorReport taylor_test(const std::function<Tensor(Inputs)>& f, std::span<const Tensor> inputs,
                         std::uint64_t seed = 1);

/// A model for `gradcheck --model`: make() draws its f64 parameters, which are the inputs of the sample's
/// call, and what else it wants from the default generator; the call gives the loss, one number.
struct ModelInfo {
  std::string_view name;       ///< for `--model`
  Sample (*make)() = nullptr;  ///< draws a fresh sample
};
/// Bobbin's models, then those added by register_model.
std::vector<ModelInfo> all_models();
/// Adds a model for `gradcheck --model`. Throws ValueError when the name is taken.
void register_model(ModelInfo);

/// The command line of tools/gradcheck over the catalogue, a user's registered operations included:
/// `int main(int argc, char** argv) { register_op<Mine>(); return bobbin::gradcheck_main(argc, argv); }`
/// Returns 0 when at least one check ran and all passed, 1 on a failure, 2 on bad usage, 3 when nothing ran
/// or something stayed inconclusive, 4 when a file could not be read or written, 5 without the device.
int gradcheck_main(int argc, char** argv);

}  // namespace bobbin
