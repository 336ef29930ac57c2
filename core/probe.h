// What looks at the work of this thread, or into it: for the profiler, and for the gradient checker, which
// keeps what was computed, computes it again in another way, and plants mistakes in derivatives to see
// whether they are found.
#pragma once
#include <bobbin/op.h>

namespace bobbin::detail {

/// RAII: while it lives, this thread's operations go past it. Probes nest; what one does not override goes to
/// the one around it.
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
  /// The walk wants the derivative of what `node` recorded.
  virtual Grads derivative(Node& node, const Vjp& v) {
    return outer_ ? outer_->derivative(node, v) : node.op->vjp(v);
  }

 private:
  Probe* outer_;
};

}  // namespace bobbin::detail
