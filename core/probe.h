// Hooks around the operations of this thread: for the profiler, the ONNX exporter, and the gradient checker,
// which keeps results, computes them again in other ways, and makes mistakes in derivatives to test whether
// they are found.
#pragma once
#include <bobbin/op.h>

#include <span>

namespace bobbin::detail {

/// A function that is made of several operations, and that ONNX has as one: a struct that derives from this
/// has its attributes as fields, and says what its inputs and results are.
struct Composite {
  virtual ~Composite() = default;
};

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
  /// Called after a function has computed y from x, by operations that have run before.
  virtual void composed(const Composite& f, Inputs x, std::span<const Tensor> y) {
    if (outer_) outer_->composed(f, x, y);
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

/// Tells this thread's probes, if there are any, that f has computed y from x. In x, undefined tensors stand
/// for arguments that are not given.
inline void composed(const Composite& f, Inputs x, std::span<const Tensor> y) {
  if (Probe* const probe = Probe::innermost()) probe->composed(f, x, y);
}

}  // namespace bobbin::detail
