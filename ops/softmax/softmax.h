// Softmax and log-softmax along one axis. Each keeps only its output for the derivative, and each derivative
// is an operation that has a derivative too. Only GPU kernels read strided rows.
#pragma once
#include <bobbin/op.h>
#include <bobbin/softmax.h>

#include "ops/check.h"

namespace bobbin {

/// An element of O above this dominates its row: 1 - O has lost digits that the other elements of the row
/// still have. At most one element of a softmax does, whatever its rounding; with 1/2, two equal ones might.
inline constexpr double dominant_probability = 0.75;

struct Softmax {
  int axis;
  static constexpr std::string_view name = "softmax";
  static constexpr Saves saves = Saves::output;
  static constexpr Strided strided = Strided::on_cuda;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp& v) const { return {softmax_backward(v.output(), v.grad, axis)}; }
  static std::vector<Sample> samples();
};

/// Inputs O and dO. With c = dO of the element that dominates the row, 0 if none does,
/// dX = O ((dO - c) - sum over the other elements of O (dO - c)). Where the sum of O is 1, this is
/// O (dO - sum(O dO)), but no difference of nearly equal numbers takes the digits of small results.
struct SoftmaxBackward {
  int axis;
  static constexpr std::string_view name = "softmax_backward";
  static constexpr Saves saves = Saves::inputs;
  static constexpr Strided strided = Strided::on_cuda;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

struct LogSoftmax {
  int axis;
  static constexpr std::string_view name = "log_softmax";
  static constexpr Saves saves = Saves::output;
  static constexpr Strided strided = Strided::on_cuda;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp& v) const { return {log_softmax_backward(v.output(), v.grad, axis)}; }
  static std::vector<Sample> samples();
};

/// Inputs O and dO. Where exp(O) dominates the row, dX is -expm1(O) dO - exp(O) (the sum of the other dO),
/// which keeps its digits as O approaches 0; elsewhere dO - exp(O) sum(dO).
struct LogSoftmaxBackward {
  int axis;
  static constexpr std::string_view name = "log_softmax_backward";
  static constexpr Saves saves = Saves::inputs;
  static constexpr Strided strided = Strided::on_cuda;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

}  // namespace bobbin
