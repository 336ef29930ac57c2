// Hooks around the operations of this thread: for the profiler, the ONNX exporter, and the gradient checker,
// which keeps results, computes them again in other ways, and makes mistakes in derivatives to test whether
// they are found.
#pragma once
#include <bobbin/op.h>

namespace bobbin::detail {

/// While it lives, its functions are called for each operation of this thread. Probes nest: a function that
/// is not overridden calls the function of the outer probe. They may end in any order, on the same thread.
class Probe {
 public:
  Probe();
  virtual ~Probe();
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  static Probe* innermost();
  Probe* outer() const { return outer_; }

  /// Called before an operation runs, recorded or not. If it throws, neither threw() nor ran() follows.
  virtual void runs(const OpBase& op, Inputs x) {
    if (outer_) outer_->runs(op, x);
  }
  /// Called when an operation has thrown.
  virtual void threw(const OpBase& op) {
    if (outer_) outer_->threw(op);
  }
  /// Called after an operation has run.
  virtual void ran(const OpBase& op, Inputs x, const Tensor& y) {
    if (outer_) outer_->ran(op, x, y);
  }
  /// Called in place of the derivative of the operation of `node`; returns the gradients.
  virtual Grads derivative(Node& node, const Vjp& v) {
    return outer_ ? outer_->derivative(node, v) : node.op->vjp(v);
  }
  /// Whether derivative() must be called for every node: a backward pass may add up gradients of slices
  /// itself.
  virtual bool needs_every_derivative() const { return true; }

 private:
  Probe* outer_;
};

}  // namespace bobbin::detail
