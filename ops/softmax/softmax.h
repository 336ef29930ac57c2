// Softmax and log-softmax along one axis. Each keeps only its output for the derivative, and each derivative
// is an operation that has a derivative too. Only GPU kernels read strided rows.
#pragma once
#include <bobbin/op.h>
#include <bobbin/softmax.h>

#include "ops/check.h"

namespace bobbin {

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

/// Inputs O and dO.
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

/// Inputs O and dO.
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
