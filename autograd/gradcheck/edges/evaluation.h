// The value of a call with its first and second derivatives, as numbers.
#pragma once
#include <bobbin/op.h>

#include <functional>
#include <string>
#include <vector>

namespace bobbin::gradcheck_detail {

/// One tensor of an evaluation.
struct Part {
  int order;  ///< 0: the value; 1, 2: a derivative
  int input;  ///< whose derivative it is; -1 for the value; at order 2, the number after the last input is
              ///< the cotangent
  int of;     ///< at order 2, the input whose gradient was differentiated; at order 1, 0 or 1: without and
              ///< with a tape for the next order
  DType dtype;
  Shape shape;
  std::vector<double> values;
};

/// A call at inputs of one dtype, with cotangents that are rounded to the same dtype, so that a wider dtype
/// can repeat it with the same numbers.
struct Question {
  std::function<Tensor(Inputs)> call;
  std::vector<Tensor> inputs;  ///< on the CPU
  DType dtype = DType::f64;    ///< of the cotangents before they are scaled
  int cotangent = 0;           ///< the cotangents of both orders are multiplied by 2 to this power
  bool ones = false;           ///< cotangents are 1, or else random, of either sign and magnitude 0.5 to 1.5
  int orders = 2;              ///< the highest order; 0 where there is no derivative
  std::uint64_t seed = 1;
  /// Multiplies each element of the floating inputs, and of the cotangents, by 1 plus or minus this.
  double nudge_inputs = 0, nudge_cotangents = 0;
  std::uint64_t nudge = 0;  ///< which signs
};

/// Asks the question with the floating inputs converted to `dtype`, on `device`. First derivatives are taken
/// twice: without a tape, as fused kernels compute them, and with one. Throws what the call throws.
std::vector<Part> evaluate(const Question&, DType dtype, Device device);
/// Evaluates it in f64 on the CPU for inputs that differ by a rounding to the type that `op` computes in, and
/// cotangents that differ by one to the dtype: products with these are rounded before they are summed. The
/// tensor cores of a GPU round the weights of attention to the dtype, so its inputs differ by that.
std::vector<Part> nudged(Question, std::string_view op, std::uint64_t signs);

}  // namespace bobbin::gradcheck_detail
