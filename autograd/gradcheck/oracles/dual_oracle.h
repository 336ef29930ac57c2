// Oracle B: derivatives by dual numbers, exact except for rounding. For the operations that have a scalar
// reference (reference.h): elementwise functions, the softmax family, losses, reductions.
#pragma once
#include <bobbin/op.h>

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace bobbin::gradcheck_detail {

/// Derivatives, flat, and their tolerances: ((8 + 2k) S + 8 E) 2^-53, where S is the sum of the magnitudes of
/// the derivative's terms, k the number of terms, and E the bound on their rounding errors. Empty for an
/// input that is not floating.
struct Judged {
  std::vector<double> value, tolerance;
};
struct DualGradients {
  std::vector<Judged> inputs;
  Judged cotangent;  ///< second order only
};

/// sum_j v_j dy_j/dx_i for every element of the f64 inputs x of op. nullopt if op has no scalar reference.
std::optional<DualGradients> dual_vjp(const OpBase& op, Inputs x, const Tensor& v);

/// The derivatives of sum_i w_i (sum_j v_j dy_j/dx_i) for x and for v; w has one tensor per input, undefined
/// if the input is not floating. nullopt also if a cell of op has more than 64 elements.
std::optional<DualGradients> dual_vjp2(const OpBase& op, Inputs x, const Tensor& v,
                                       std::span<const Tensor> w);

/// An operation that ran while a function was called, and its inputs.
struct Step {
  std::shared_ptr<Node> copy;  ///< holds the operation
  std::vector<Tensor> inputs;  ///< detached
  std::vector<bool> needs;     ///< which inputs need a gradient
  const OpBase& op() const { return *copy->op; }
};
/// The differentiable steps of f at these inputs; the floating inputs are leaves.
std::vector<Step> steps_of(const std::function<Tensor(Inputs)>& f, Inputs);

/// One derivative, compared.
struct DualElement {
  std::string op;
  int order;
  int input;  ///< of the operation; -1: the cotangent, at second order
  std::int64_t index;
  double analytic, dual, tolerance;
  bool ok() const { return std::abs(analytic - dual) <= tolerance; }
};
struct DualReport {
  std::set<std::string> operations;  ///< that were compared
  std::int64_t compared = 0;
  double worst = 0;  ///< the largest error divided by its tolerance
  std::vector<DualElement> failed;
};
/// Compares the operation's derivatives of order 1 or 2 at the step's inputs with dual numbers, for random
/// cotangents of magnitude 0.5 to 1.5 from the default generator. nullopt if there is no scalar reference.
std::optional<DualReport> check_step(const Step&, int order);
/// Compares all steps of a valid sample that is marked differentiable. In first order also compares samples
/// with an input of more than 64 elements, which are not marked because finite differences would take too
/// long.
DualReport check_steps(const Sample&, int order);

}  // namespace bobbin::gradcheck_detail
