// The tape: each recorded operation leaves a Node that knows its inputs' nodes and what its derivative needs.
// There is no global graph; a tape lives as long as tensors refer to it.
#pragma once
#include <bobbin/tensor.h>

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace bobbin {

class OpBase;

/// A tensor kept for the derivative, with the version of its storage when it was kept.
struct Saved {
  Tensor tensor;              ///< undefined where nothing was kept
  std::uint64_t version = 0;  ///< of the storage, when it was kept
};

/// What a node knows of an input: the node it came from (null: no gradient goes there), and the input itself
/// where the derivative reads it.
struct Edge {
  std::shared_ptr<Node> producer;  ///< null: no gradient goes there
  Saved saved;                     ///< the input, where the derivative reads it
};

/// One step on the tape: a recorded operation, or a leaf (no op).
struct Node : std::enable_shared_from_this<Node> {
  /// A leaf of this spec, numbered as the latest step.
  explicit Node(const TensorSpec&);
  virtual ~Node();  ///< releases long chains in constant stack
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  /// Whether no operation made it.
  bool is_leaf() const { return op == nullptr; }
  /// Drops the saved tensors and the way to the producers.
  void release();

  const OpBase* op = nullptr;  ///< owned by the node itself; null for a leaf
  std::vector<Edge> inputs;    ///< one an operand
  Saved output;                ///< without its node, which would be a cycle; undefined where it is not read
  std::vector<Saved> aux;      ///< what the operation made for its derivative alone
  TensorSpec spec;             ///< of the output
  std::uint64_t sequence;      ///< process-wide order of creation; the walk goes down it
  Tensor grad;                 ///< leaves, and retain_grad
  std::vector<std::pair<int, Hook>> hooks;  ///< by the number that register_hook gave, in order
  bool keeps_grad = false;                  ///< retain_grad was called
  bool released = false;                    ///< a walk has used it up
};

/// Whether operations on this thread are recorded now.
bool grad_enabled();

/// RAII: sets whether operations on this thread are recorded.
class GradMode {
 public:
  /// Recording on or off, until this goes.
  explicit GradMode(bool on);
  ~GradMode();  ///< back to what it was
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool before_;
};

/// RAII: nothing is recorded on this thread while it lives.
struct NoGrad : GradMode {
  /// Until this goes.
  NoGrad() : GradMode(false) {}
};

/// RAII: while it lives, the first operation on this thread whose result or gradient holds NaN or Inf throws
/// AnomalyError, which names the operation and the flat index. Reads every result: slow.
class AnomalyMode {
 public:
  AnomalyMode();   ///< on, for this thread
  ~AnomalyMode();  ///< back to what it was
  AnomalyMode(const AnomalyMode&) = delete;
  AnomalyMode& operator=(const AnomalyMode&) = delete;
  /// Whether the mode is on for this thread.
  static bool enabled();

 private:
  bool before_;
};

/// Throws AnomalyError, beginning with `what`, if x holds NaN or Inf.
void check_finite(std::string_view what, const Tensor& x);

}  // namespace bobbin
