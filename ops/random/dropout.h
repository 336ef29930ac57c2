// The operation of dropout. Its mask is a function of the generator's state, so the backward pass draws it
// again and no tensor keeps it.
#pragma once
#include <bobbin/op.h>
#include <bobbin/random.h>

namespace bobbin {

/// y[i] = 0 with probability p, by the draw's Chance, else x[i] / (1 - p). Elements are counted in row-major
/// order, so all dtypes and layouts get the same mask. Linear and self-adjoint: the derivative is the same
/// operation.
struct Dropout {
  double p;
  Generator state;  ///< Philox{state.seed, state.draws} is the draw
  static constexpr std::string_view name = "dropout";
  static constexpr Strided strided = Strided::all;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp& v) const { return {record(*this, {v.grad})}; }
  static std::vector<Sample> samples();
};

}  // namespace bobbin
