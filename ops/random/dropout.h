// Dropout, whose mask is a function of its state: drawn again wherever it is needed, never kept.
#pragma once
#include <bobbin/ops.h>
#include <bobbin/random.h>

#include <cmath>

namespace bobbin {

/// y[i] = x[i] / (1 - p) where to_unit(word i of the draw) >= p, else 0; i counts in row-major order, for
/// every dtype alike. Linear, and its own transpose.
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

  /// to_unit(word) >= p says the same as word >> 8 >= threshold(), without floating point.
  std::uint32_t threshold() const { return static_cast<std::uint32_t>(std::ceil(p * 0x1p24)); }
};

}  // namespace bobbin
