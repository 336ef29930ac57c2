// Hooks around the operations of this thread: for the profiler, and for the gradient checker, which keeps
// results, computes them again in other ways, and plants mistakes in derivatives to test whether they are
// found.
#pragma once
#include <bobbin/op.h>

namespace bobbin::detail {

/// While it lives, its functions are called for each operation of this thread. Probes nest: a function that
/// is not overridden calls that of the probe outside.
class Probe {
 public:
  Probe();
  virtual ~Probe();
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  static Probe* innermost();

  /// An operation is about to run; recorded or not.
  virtual void runs(const OpBase& op, Inputs x) {
    if (outer_) outer_->runs(op, x);
  }
  /// It threw.
  virtual void threw(const OpBase& op) {
    if (outer_) outer_->threw(op);
  }
  /// It ran.
  virtual void ran(const OpBase& op, Inputs x, const Tensor& y) {
    if (outer_) outer_->ran(op, x, y);
  }
  /// The engine asks for the derivative of the operation that `node` recorded.
  virtual Grads derivative(Node& node, const Vjp& v) {
    return outer_ ? outer_->derivative(node, v) : node.op->vjp(v);
  }

 private:
  Probe* outer_;
};

}  // namespace bobbin::detail
