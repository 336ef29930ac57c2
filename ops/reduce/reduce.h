// Reductions over axes.
#pragma once
#include <bobbin/op.h>
#include <bobbin/reduce.h>

namespace bobbin {

/// The axes that a reduction removes; empty means all.
struct ReductionAxes {
  Axes axes;
  bool keepdim = false;

  /// The spec of the result.
  TensorSpec infer(std::string_view op, const Tensor& x, DType result) const;
  /// The reduced axes of x, sorted and counted from 0.
  Axes normalized(const Shape& x) const { return normalize_axes("reduce", axes, x.size()); }
  /// The number of elements that are reduced to one.
  std::int64_t count(const Shape& x) const;
  /// The result y with the reduced axes of x, of size 1, as keepdim gives it.
  Tensor keep_axes(const Tensor& y, const Shape& x) const;
};

/// Integers and bool are summed in i64.
struct Sum {
  ReductionAxes over;
  static constexpr std::string_view name = "sum";
  static constexpr Strided strided = Strided::all;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// The mean. A separate operation, because sum / n would overflow in 16-bit types.
struct Mean {
  ReductionAxes over;
  static constexpr std::string_view name = "mean";
  static constexpr Strided strided = Strided::all;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// The sum of squared deviations from the mean, divided by n - correction; NaN unless n > correction.
struct Var {
  ReductionAxes over;
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

/// x - mean(x), in f32 for 16-bit x. The mean is an f64 number: rows far from zero keep their deviations.
struct Deviation {
  Axes axes;
  static constexpr std::string_view name = "deviation";
  static constexpr Strided strided = Strided::all;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// The standard deviation. A separate operation, because in sqrt(var) the variance could overflow in f16
/// where its root does not.
struct Std {
  ReductionAxes over;
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

/// The largest (or smallest) element. The gradient goes to the first of equal ones; `aux` holds its i64 index
/// in the flattened reduced axes.
template<bool largest>
struct FirstExtreme {
  ReductionAxes over;
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

/// The largest (or smallest) element. Equal ones share the gradient; where the result is NaN, the NaNs do.
template<bool largest>
struct SharedExtreme {
  ReductionAxes over;
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

/// The i64 index, in the flattened reduced axes, of the first of the largest (or smallest) elements.
template<bool largest>
struct ArgExtreme {
  ReductionAxes over;
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

/// log(sum(exp(x))). The derivative is softmax(x): 0 where all elements are -inf, NaN where one is +inf.
struct LogSumExp {
  ReductionAxes over;
  static constexpr std::string_view name = "logsumexp";
  static constexpr Strided strided = Strided::all;
  static constexpr Saves saves = Saves::inputs | Saves::output;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// (sum |x|^p)^(1/p). For p = infinity, all elements of the largest magnitude share the gradient.
struct Norm {
  ReductionAxes over;
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

}  // namespace bobbin
