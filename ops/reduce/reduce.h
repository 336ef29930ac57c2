// Reductions over axes, and running sums.
#pragma once
#include <bobbin/ops.h>

namespace bobbin {

/// The axes a reduction runs over: none means all.
struct Over {
  Axes axes;
  bool keepdim = false;

  TensorSpec infer(std::string_view op, const Tensor& x, DType result) const;
  /// The axes of x that go away, sorted and counted from 0.
  Axes of(const Shape& x) const { return normalize_axes("reduce", axes, x.size()); }
  /// How many elements make one result.
  std::int64_t count(const Shape& x) const;
  /// A tensor of the result's shape with every reduced axis of x in it, at size 1.
  Tensor keep(const Tensor& y, const Shape& x) const;
};

struct Sum {
  Over over;
  static constexpr std::string_view name = "sum";
  static constexpr Strided strided = Strided::all;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// Not sum / n: that overflows in 16-bit types.
struct Mean {
  Over over;
  static constexpr std::string_view name = "mean";
  static constexpr Strided strided = Strided::all;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// NaN unless more elements are reduced than `correction`.
struct Var {
  Over over;
  double correction = 1;
  static constexpr std::string_view name = "var";
  static constexpr Strided strided = Strided::all;
  static constexpr Saves saves = Saves::inputs;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// Not sqrt(var): a variance overflows in f16 where its root does not.
struct Std {
  Over over;
  double correction = 1;
  static constexpr std::string_view name = "std";
  static constexpr Strided strided = Strided::all;
  static constexpr Saves saves = Saves::inputs | Saves::output;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// The extreme; the first one gets the gradient, and `aux` remembers which it was: its flat i64 index over
/// the reduced axes.
template<bool largest>
struct FirstExtreme {
  Over over;
  static constexpr std::string_view name = largest ? "max" : "min";
  static constexpr Strided strided = Strided::all;
  TensorSpec infer(Inputs) const;
  std::vector<TensorSpec> aux(Inputs) const;
  void cpu(Inputs, Tensor&, std::span<Tensor> aux) const;
  void cuda(Inputs, Tensor&, std::span<Tensor> aux) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};
using Max = FirstExtreme<true>;
using Min = FirstExtreme<false>;

/// The extreme; all that equal it share the gradient, which is NaN where the extreme is.
template<bool largest>
struct SharedExtreme {
  Over over;
  static constexpr std::string_view name = largest ? "amax" : "amin";
  static constexpr Strided strided = Strided::all;
  static constexpr Saves saves = Saves::inputs | Saves::output;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};
using AMax = SharedExtreme<true>;
using AMin = SharedExtreme<false>;

/// The i64 flat index, over the reduced axes, of the first extreme.
template<bool largest>
struct ArgExtreme {
  Over over;
  static constexpr std::string_view name = largest ? "argmax" : "argmin";
  static constexpr Strided strided = Strided::all;
  static constexpr bool differentiable = false;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  static std::vector<Sample> samples();
};
using ArgMax = ArgExtreme<true>;
using ArgMin = ArgExtreme<false>;

/// Its derivative is softmax: 0 where all are -inf, NaN at a +inf.
struct LogSumExp {
  Over over;
  static constexpr std::string_view name = "logsumexp";
  static constexpr Strided strided = Strided::all;
  static constexpr Saves saves = Saves::inputs | Saves::output;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// For p = infinity, all elements of the largest magnitude share the gradient.
struct Norm {
  Over over;
  double p = 2;
  static constexpr std::string_view name = "norm";
  static constexpr Strided strided = Strided::all;
  constexpr Saves saves(Needs) const { return p == 1 ? Saves::inputs : Saves::inputs | Saves::output; }
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// Sums are kept in f64 and rounded as they are written; integers sum to i64.
struct CumSum {
  int axis;
  bool reverse = false;
  static constexpr std::string_view name = "cumsum";
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp& v) const { return {cumsum(v.grad, axis, !reverse)}; }
  static std::vector<Sample> samples();
};

}  // namespace bobbin
