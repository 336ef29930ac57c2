// The gradient checker: compares derivatives of functions and models with finite differences.
#pragma once
#include <bobbin/ops.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace bobbin {

/// The result of a check: the first of these that applies.
enum class Verdict {
  fail,              ///< a derivative is wrong
  saved_corrupted,   ///< the backward pass changed an input or a saved tensor
  nondeterministic,  ///< the same call gave other bits
  nonsmooth,         ///< more than 5 % of the elements are at kinks
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
  /// For inputs that are at kinks on purpose: the documented derivative of the result with respect to each
  /// element of the first input, in that input's shape. The gradient must be the (broadcast) cotangent times
  /// this.
  Tensor at_kinks = {};
};

/// A derivative that is wrong, or that could not be judged.
struct Mismatch {
  int order = 1;  ///< of the derivative
  int input = 0;  ///< the number of the input; at order 2, the number after the last is the cotangent
  std::int64_t index = 0;  ///< flat, row-major
  Shape shape;             ///< of the input
  double analytic = 0;     ///< the derivative from the backward pass
  double numeric = 0;      ///< the expected derivative
  double tolerance = 0;    ///< the largest allowed difference of the two
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
  std::int64_t nonsmooth = 0;       ///< elements at kinks; their derivative is between the one-sided ones
  std::int64_t inconclusive = 0;    ///< elements whose differences are not accurate enough
  double worst = 0;                 ///< the largest error divided by its tolerance: at most 1 if all is right
  std::vector<Mismatch> mismatches;         ///< the ten worst
  std::vector<Shape> shapes;                ///< of the inputs; at order 2, the last is the cotangent's
  std::vector<std::vector<double>> errors;  ///< by input, flat: each error divided by its tolerance
  std::string failure;                      ///< one line: the worst mismatch or another failure; empty if ok
  /// Whether it passed.
  bool ok() const { return verdict == Verdict::pass; }
};

/// Compares the derivatives of f at f64 inputs (inputs of other dtypes are constants) with central
/// differences T in f64. T is computed from three steps and extrapolated twice (Richardson); the differences
/// between the steps give an estimate of its error. If that is too large, twelve steps are used, 2^-4 to
/// 2^-15 of the input. The outputs are weighted with four cotangents: three random ones of either sign and
/// magnitude 0.5 to 1.5, so that errors of a Jacobian do not cancel in a sum, and a one-hot one. A derivative
/// a passes if |a - T| <= 16 est and est <= 1e-9 of its scale, where est is the estimated error of T. NaN
/// fails. An element is at a kink if the one-sided differences disagree: a must be between them, and the
/// element is moved away and checked again, up to three times. A zero cotangent must give exact zeros.
/// `repeats` calls must give the same bits, and the backward pass must change neither inputs nor saved
/// tensors. Throws the exceptions of f; DTypeError if a floating input is not f64.
GradcheckReport gradcheck(const std::function<Tensor(Inputs)>& f, std::span<const Tensor> inputs,
                          const GradcheckOptions& = {});

/// The rate at which the remainder of the first-order Taylor expansion decreases with the step.
struct TaylorReport {
  double slope = 0;                ///< of log remainder over log step: 2 if the gradient is right
  std::vector<double> steps;       ///< the steps that the slope is fitted to
  std::vector<double> remainders;  ///< one per step
  /// Whether the slope is 2, within 0.1.
  bool ok() const { return !(slope < 1.9) && !(slope > 2.1); }
};
/// For whole models: computes |f(x + h d) - f(x) - h <g, d>| for random directions d over all f64 inputs and
/// steps h that are halved as long as the remainder is much larger than rounding errors. f returns one
/// number. Throws as gradcheck does; ValueError if fewer than two decades of steps are left: f is linear, or
/// not smooth.
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

/// The main function of the program `gradcheck`. It checks the catalogue, with the operations that the caller
/// has registered:
/// `int main(int argc, char** argv) { register_op<Mine>(); return bobbin::gradcheck_main(argc, argv); }`
/// Returns 0 if at least one check ran and all passed, 1 for a failure, 2 for a wrong command line, 3 if no
/// check ran or one was inconclusive, 4 if a file could not be read or written, 5 if there is no such device.
int gradcheck_main(int argc, char** argv);

}  // namespace bobbin
