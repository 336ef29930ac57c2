// A call that shows what an operation does: the tests and the gradient checker make it.
#pragma once
#include <bobbin/vjp.h>

#include <functional>
#include <string>
#include <vector>

namespace bobbin {

/// One call of an operation, for the tests and the checkers. Random inputs come from the default generator,
/// so that a fresh seed gives fresh inputs.
struct Sample {
  std::string note;                    ///< what is special, for reports
  std::vector<Tensor> inputs;          ///< those that derivatives are taken by
  std::function<Tensor(Inputs)> call;  ///< the operation on them
  /// The message the call must throw, for an invalid call; what follows is then unused.
  std::string throws = {};
  /// Whether derivatives are compared with finite differences at these inputs: false at kinks and at
  /// infinities. It says nothing of the operation: see Differentiable.
  bool differentiable = true;
  /// At kinks of the first input: the derivative that is documented for each of its elements. The gradient
  /// must be the cotangent, which must broadcast to the input, times this, and lie between the one-sided
  /// slopes.
  Tensor at_kinks = {};
  /// Whether rows of the first input, along its first axis, make the rows of the result each by itself.
  bool batch = false;
};

}  // namespace bobbin
