// The tape: each recorded operation leaves a Node, which refers to the nodes of its inputs and keeps the
// tensors that its derivative reads. There is no global graph; a tape lives as long as tensors refer to it.
#pragma once
#include <bobbin/tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace bobbin {

class OpBase;

/// A tensor kept for the derivative, with the version of its storage when it was kept.
struct Saved {
  Tensor tensor;              ///< undefined: not kept
  std::uint64_t version = 0;  ///< of the storage, when it was kept
};

/// An input of a node.
struct Edge {
  std::shared_ptr<Node> producer;  ///< the node that computed the input; null: it needs no gradient
  Saved saved;                     ///< the input, if the derivative reads it
};

/// The hooks of a tensor in the order of their calls, each with the number that register_hook returned.
using Hooks = std::vector<std::pair<int, Hook>>;

/// One step on the tape: a recorded operation, or a leaf (no op).
struct Node : std::enable_shared_from_this<Node> {
  /// A leaf of this spec, numbered as the latest step.
  explicit Node(const TensorSpec&);
  virtual ~Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  /// Whether no operation computed it.
  bool is_leaf() const { return op == nullptr; }
  /// Drops the saved tensors and the references to the producers. Allocates nothing.
  void release() noexcept;
  /// Destroys a node that nobody refers to any more. Allocates nothing, and releases long chains in constant
  /// stack: a node that loses its last reference while another one is being destroyed waits for its turn.
  static void destroy(Node*) noexcept;

  const OpBase* op = nullptr;  ///< owned by the node; null for a leaf
  std::vector<Edge> inputs;    ///< one per operand
  Saved output;                ///< without its node, which would be a cycle; undefined if it is not read
  std::vector<Saved> aux;      ///< tensors that the operation computed for its derivative
  TensorSpec spec;             ///< of the output
  std::uint64_t sequence;      ///< process-wide order of creation; the backward pass visits it in reverse
  Tensor grad;                 ///< for leaves, and after retain_grad
  std::shared_ptr<const Hooks> hooks;  ///< null: none. A change replaces the list, as a pass may walk it
  bool keeps_grad = false;             ///< retain_grad was called
  bool released = false;               ///< a backward pass has released it

 private:
  Node* next_waiting_ = nullptr;  // while it waits in destroy()
};

namespace detail {
/// The allocator of the nodes of operations: shared pointers then destroy them with Node::destroy. A node's
/// memory outlives its last shared pointer, because the node holds a weak one to itself.
template<class T>
struct NodeAllocator {
  using value_type = T;
  NodeAllocator() = default;
  template<class U>
  NodeAllocator(const NodeAllocator<U>&) noexcept {}
  T* allocate(std::size_t n) { return std::allocator<T>().allocate(n); }
  void deallocate(T* p, std::size_t n) noexcept { std::allocator<T>().deallocate(p, n); }
  void destroy(Node* node) noexcept { Node::destroy(node); }
  friend bool operator==(const NodeAllocator&, const NodeAllocator&) = default;
};
}  // namespace detail

/// Whether operations on this thread are recorded now.
bool grad_enabled();

/// RAII: sets whether operations on this thread are recorded.
class GradMode {
 public:
  /// Sets recording on or off, until the destructor.
  explicit GradMode(bool on);
  ~GradMode();  ///< restores the earlier setting
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool before_;
};

/// RAII: nothing is recorded on this thread while it lives.
struct NoGrad : GradMode {
  /// Sets recording off, until the destructor.
  NoGrad() : GradMode(false) {}
};

/// RAII: while it lives, the first operation on this thread whose result or gradient holds NaN or Inf throws
/// AnomalyError, which names the operation and the flat index. Reads every result: slow.
class AnomalyMode {
 public:
  AnomalyMode();   ///< turns the mode on, for this thread
  ~AnomalyMode();  ///< restores the earlier setting
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
