// The operation of dropout. Its mask is a function of the generator's state, so the backward pass draws it
// again and no tensor keeps it.
#pragma once
#include <bobbin/op.h>
#include <bobbin/random.h>

#include <cmath>

namespace bobbin {

/// y[i] = x[i] / (1 - p) where to_unit(word i of the draw) >= p, else 0. Elements are counted in row-major
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

  /// word >> 8 >= threshold() is equivalent to to_unit(word) >= p, without floating point.
  std::uint32_t threshold() const { return static_cast<std::uint32_t>(std::ceil(p * 0x1p24)); }
};

}  // namespace bobbin
