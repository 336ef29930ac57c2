// Checking gradients: derivatives of functions and models compared with finite differences.
#pragma once
#include <bobbin/ops.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace bobbin {

/// The result of a check: the first that applies, from the top.
enum class Verdict {
  fail,              ///< a derivative is wrong
  saved_corrupted,   ///< the backward pass changed an input or a saved tensor
  nondeterministic,  ///< the same call gave other bits
  nonsmooth,         ///< more than 5 % of the elements lie at kinks
  inconclusive,      ///< finite differences are not accurate enough to judge
  skip,              ///< nothing could be compared
  pass,              ///< none of these
};
std::string_view name(Verdict);  ///< in capitals: "PASS"

/// The order of the derivatives, the random numbers, and the repeats.
struct GradcheckOptions {
  int order = 1;           ///< 1: gradients; 2: gradients of gradients, for the cotangent as well
  std::uint64_t seed = 1;  ///< of the cotangents
  int repeats = 20;        ///< calls, at order 1, that must give the same bits
  /// For inputs that lie at kinks on purpose: the documented derivative of the result by each element of the
  /// first input, in that input's shape. The gradient must be the (broadcast) cotangent times this.
  Tensor at_kinks = {};
};

/// A derivative that is wrong, or could not be judged.
struct Mismatch {
  int order = 1;           ///< of the derivative
  int input = 0;           ///< its number; at order 2, the one after the last is the cotangent
  std::int64_t index = 0;  ///< flat, row-major
  Shape shape;             ///< of the input
  double analytic = 0;     ///< the derivative from the backward pass
  double numeric = 0;      ///< what it should be
  double tolerance = 0;    ///< how far apart the two may be
  std::string cotangent;   ///< "random 1" to "random 3", "one-hot", "zero"
  std::string oracle;      ///< "differences", "one-sided differences", "exactly zero"
  double error() const;    ///< |analytic - numeric|
};
/// "input 0[1,2] (flat 5): analytic ..., numeric ..., ..." with the absolute and relative error and ULPs.
std::string describe(const Mismatch&);

/// The result of gradcheck.
struct GradcheckReport {
  Verdict verdict = Verdict::pass;  ///< the result
  std::int64_t elements = 0;        ///< of inputs whose derivatives were compared, each for four cotangents
  std::int64_t nonsmooth = 0;       ///< of these, at kinks; the derivative lies between the one-sided ones
  std::int64_t inconclusive = 0;    ///< of these, where differences are not accurate enough
  double worst = 0;                 ///< the largest error divided by its tolerance: at most 1 if all is right
  std::vector<Mismatch> mismatches;         ///< the ten worst
  std::vector<Shape> shapes;                ///< of the inputs; at order 2, the last is the cotangent's
  std::vector<std::vector<double>> errors;  ///< by input, flat: each error divided by its tolerance
  std::string failure;  ///< one line: the worst mismatch, or what else is wrong; empty if ok
  /// Whether it passed.
  bool ok() const { return verdict == Verdict::pass; }
};

/// Compares the derivatives of f at f64 inputs (others are held fixed) with central differences T in f64.
/// They come from three steps, extrapolated twice (Richardson), whose disagreement gives an estimate of their
/// error; in doubt from twelve steps, 2^-4 to 2^-15 of the input. The outputs are weighted with four
/// cotangents: three random ones of either sign and magnitude 0.5 to 1.5, so that a wrong Jacobian cannot
/// hide in a sum, and a one-hot. A derivative a passes if |a - T| <= 16 est and est <= 1e-9 of its scale,
/// where est is the estimated error of T. NaN fails. There is a kink where the one-sided differences
/// disagree: a must lie between them, and the element is moved away and checked again, up to three times. A
/// zero cotangent must give exact zeros. Besides, `repeats` calls must give the same bits, and the backward
/// pass must change neither inputs nor saved tensors. Throws what f throws; DTypeError when a floating input
/// is not f64.
GradcheckReport gradcheck(const std::function<Tensor(Inputs)>& f, std::span<const Tensor> inputs,
                          const GradcheckOptions& = {});

/// How the remainder of the first-order Taylor expansion shrinks with the step.
struct TaylorReport {
  double slope = 0;                ///< of log remainder over log step: 2 if the gradient is right
  std::vector<double> steps;       ///< those that the slope is fitted to
  std::vector<double> remainders;  ///< at each of them
  /// Whether the slope is 2, within 0.1.
  bool ok() const { return !(slope < 1.9) && !(slope > 2.1); }
};
/// For whole models: |f(x + h d) - f(x) - h <g, d>| for random directions d over all f64 inputs and steps h
/// that are halved as long as the remainder is much larger than rounding errors. f gives one number. Throws
/// as gradcheck does; ValueError if fewer than two decades of steps are left: f is linear, or not smooth.
TaylorReport taylor_test(const std::function<Tensor(Inputs)>& f, std::span<const Tensor> inputs,
                         std::uint64_t seed = 1);

/// A model for `gradcheck --model`: make() draws the f64 parameters and all data from the default generator.
/// The sample's inputs are the parameters, and its call gives the loss, one number.
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
