// Sample: an example call of an operation, for the tests and the gradient checker.
#pragma once
#include <bobbin/vjp.h>

#include <functional>
#include <string>
#include <vector>

namespace bobbin {

/// One call of an operation, for the tests and the checkers. Random inputs are drawn from the default
/// generator, so another seed gives other inputs.
struct Sample {
  std::string note;                    ///< what is special about the call, for reports
  std::vector<Tensor> inputs;          ///< the inputs with respect to which derivatives are computed
  std::function<Tensor(Inputs)> call;  ///< the operation on them
  /// For an invalid call: the message that it must throw. The fields below are then unused.
  std::string throws = {};
  /// Whether derivatives are compared with finite differences at these inputs: false at kinks and at
  /// infinities. (Whether the operation has a derivative is another question: see Differentiable.)
  bool differentiable = true;
  /// At kinks of the first input: the documented derivative for each of its elements. The gradient must be
  /// the cotangent, which must broadcast to the input, times this tensor. It must be between the one-sided
  /// slopes.
  Tensor at_kinks = {};
  /// Whether row i of the result, along the first axis, depends on row i of the first input only.
  bool batch = false;
};

}  // namespace bobbin
