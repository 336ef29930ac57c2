// Oracle B: derivatives by dual numbers, exact but for rounding. It knows the operations whose reference is
// scalar mathematics (reference.h): elementwise ones, the softmax family, losses, reductions.
#pragma once
#include <bobbin/op.h>

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace bobbin::gradcheck_detail {

/// Derivatives, flat, and how far a right one may be from each: (8 + 2k) 2^-53 S, where S is the sum of the
/// magnitudes that make up the derivative and k the length of that sum. Empty for an input that is not
/// floating.
struct Judged {
  std::vector<double> value, tolerance;
};
struct DualGradients {
  std::vector<Judged> inputs;
  Judged cotangent;  ///< second order only
};

/// sum_j v_j dy_j/dx_i for every element of the f64 inputs x of op. Nothing where op has no scalar reference.
std::optional<DualGradients> dual_vjp(const OpBase& op, Inputs x, const Tensor& v);

/// The derivatives of sum_i w_i (sum_j v_j dy_j/dx_i) for x and for v; w has a tensor an input, undefined
/// where that is not floating. Nothing, also, where a slice of op has more than 64 elements.
std::optional<DualGradients> dual_vjp2(const OpBase& op, Inputs x, const Tensor& v,
                                       std::span<const Tensor> w);

/// An operation that ran while a function was called, and what it ran on.
struct Step {
  std::shared_ptr<Node> copy;  ///< holds the operation
  std::vector<Tensor> inputs;  ///< detached
  std::vector<bool> needs;     ///< which inputs need a gradient
  const OpBase& op() const { return *copy->op; }
};
/// The differentiable steps of f at these inputs; floating ones are leaves.
std::vector<Step> steps_of(const std::function<Tensor(Inputs)>& f, Inputs);

/// One derivative, judged.
struct DualElement {
  std::string op;
  int order;
  int input;  ///< of the operation; -1: the cotangent, at second order
  std::int64_t index;
  double analytic, dual, tolerance;
  bool ok() const { return std::abs(analytic - dual) <= tolerance; }
};
struct DualReport {
  std::set<std::string> operations;  ///< that were judged
  std::int64_t compared = 0;
  double worst = 0;  ///< the largest error by its tolerance
  std::vector<DualElement> failed;
};
/// Compares op's own derivatives of order 1 or 2 at the step's inputs with dual numbers, for random
/// cotangents of magnitude 0.5 to 1.5 from the default generator. Nothing where there is no scalar reference.
std::optional<DualReport> check_step(const Step&, int order);
/// All steps of a valid sample: of first order also where it is too large to be differenced, which more than
/// 64 elements are a sign of; of second order only where it says that it is differentiable.
DualReport check_steps(const Sample&, int order);

}  // namespace bobbin::gradcheck_detail
