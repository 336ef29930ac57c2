// Reverse-mode differentiation. A backward pass visits the nodes of the tape from the newest to the oldest.
// When it reaches a node, it has visited all nodes that were computed from it, so the node's cotangent (the
// gradient of the result with respect to the node's output) is complete.
#include <bobbin/autocast.h>
#include <bobbin/autograd.h>
#include <bobbin/elementwise.h>
#include <bobbin/op.h>
#include <bobbin/view.h>

#include <algorithm>
#include <array>
#include <memory_resource>
#include <mutex>
#include <queue>
#include <unordered_map>
#include <utility>

#include "autograd/cotangent.h"
#include "core/cuda/replay_arg.h"
#include "core/fork.h"
#include "core/probe.h"

namespace bobbin {
namespace {

using NodePtr = std::shared_ptr<Node>;

Tensor one_like(const Tensor& y) {
  if (y.device().is_cuda())
    if (Tensor one = cuda::captured_one(y.spec())) return one;
  return ones_like(y);
}

// The cotangent that the pass starts with: the given one, or 1 for a tensor of one element.
Tensor starting_cotangent(std::string_view what, const Tensor& y, const Tensor& given) {
  if (!y.requires_grad())
    fail<GradError>(what, ": ", y.spec(),
                    " needs no gradient: it was computed from tensors that require none, or under NoGrad");
  if (!given && y.numel() != 1)
    fail<ShapeError>(what, ": ", y.spec(), " is not a single number; sum it, or give a cotangent");
  if (given && given.spec() != y.spec())
    fail<ShapeError>(what, ": a cotangent of ", y.spec(), " cannot be ", given.spec());
  return given ? given : one_like(y);
}

class BackwardPass {
 public:
  explicit BackwardPass(Retain retain, CreateGraph create)
      : keep_(retain == Retain::yes || create == CreateGraph::yes), record_(create == CreateGraph::yes) {}
  BackwardPass(const BackwardPass&) = delete;
  BackwardPass& operator=(const BackwardPass&) = delete;

  /// Starts at y with the given cotangent, or with 1 if that is undefined. Calls visit(node, gradient) for
  /// each node that it reaches, and continues to a node's inputs if its sequence number is above `oldest`.
  template<class Visit>
  void run(std::string_view what, const Tensor& y, const Tensor& given, std::uint64_t oldest, Visit&& visit) {
    GradMode mode(record_);
    const Autocast as_recorded(DType::f32);  // derivatives run in the dtypes of what the tape keeps
    add(y.node(), starting_cotangent(what, y, given));
    const Node* const starts_with_one = given ? nullptr : y.node().get();
    while (!todo_.empty()) {
      const NodePtr node = todo_.top();
      todo_.pop();
      Tensor g = cotangents_.extract(node.get()).mapped().sum(node->spec.shape);
      const bool hooked = node->hooks != nullptr;
      if (hooked) run_hooks(*node, g);
      visit(node, g);
      if (node->is_leaf() || node->sequence <= oldest) continue;
      if (node->released)
        fail<GradError>("backward: the tape below '", node->op->name(),
                        "' was used up by an earlier walk; pass Retain::yes there to walk it again");
      differentiate(*node, g, node.get() == starts_with_one && !hooked);  // a hook may have replaced the 1
      if (!keep_) node->release();  // at once: its saved tensors make room for the gradients below
    }
  }

  /// Memory for lists that live as long as the pass.
  std::pmr::memory_resource* memory() { return &memory_; }

 private:
  // A hook may edit the list: those that it adds are not called, and those that it removes no more.
  static void run_hooks(Node& node, Tensor& g) {
    const auto hooks = node.hooks;
    const auto registered = [&](int id) {
      return node.hooks == hooks ||
             (node.hooks && std::ranges::count(*node.hooks, id, &Hooks::value_type::first) > 0);
    };
    for (auto& [id, hook] : *hooks)
      if (registered(id))
        if (Tensor replaced = hook(g)) g = checked(replaced, node, "a hook");
  }

  // Adds the gradients of the node's inputs to the cotangents of the nodes that produced them. `is_one`: g is
  // the number 1, which lets some derivatives leave out a product.
  void differentiate(Node& node, const Tensor& g, bool is_one) {
    const Vjp v(node, g, is_one);
    // For checkpoint(), replay() computes the output again on a new tape, and the pass continues through
    // that.
    if (const Tensor replayed = node.op->replay(v)) {
      if (replayed.requires_grad()) add(replayed.node(), g);
      return;
    }
    if (const Slice* slice = part_of(node)) return reached(node.inputs[0].producer).add(*slice, g);
    const Grads grads = derivative(node, v);
    if (grads.size() != node.inputs.size())
      fail<GradError>("backward: ", node.op->name(), " gave ", grads.size(), " gradients for ",
                      node.inputs.size(), " inputs; an input without one gets an undefined tensor");
    for (std::size_t i = 0; i < grads.size(); ++i)
      if (const NodePtr& producer = node.inputs[i].producer; grads[i] && producer)
        add(producer, checked(grads[i], *producer, node.op->name()));
  }

  // The operation's derivative. Calls it through the profiler or another probe, if there is one.
  static Grads vjp(Node& node, const Vjp& v) {
    detail::Probe* const probe = detail::Probe::innermost();
    return probe ? probe->derivative(node, v) : node.op->vjp(v);
  }

  // The same, checked for NaN and infinity under AnomalyMode.
  static Grads derivative(Node& node, const Vjp& v) {
    if (!AnomalyMode::enabled()) return vjp(node, v);
    const std::string where = "derivative of " + std::string(node.op->name());
    try {
      Grads grads = vjp(node, v);
      for (std::size_t i = 0; i < grads.size(); ++i)
        check_finite(where + ": the gradient of its input " + std::to_string(i), grads[i]);
      return grads;
    } catch (const AnomalyError& e) {
      if (std::string_view(e.what()).starts_with(where)) throw;
      fail<AnomalyError>(where, ": ", e.what());
    }
  }

  static const Tensor& checked(const Tensor& g, const Node& node, std::string_view source) {
    if (g.spec() != node.spec)
      fail<GradError>("backward: ", source, " gave ", g.spec(), " as the gradient of ", node.spec);
    return g;
  }

  // The slice that the node's output is, if its gradient can be added to these elements alone. A recorded
  // derivative is made of operations on whole tensors.
  const Slice* part_of(const Node& node) const {
    const auto* op = dynamic_cast<const detail::OpModel<Slice>*>(node.op);
    if (!op || record_ || AnomalyMode::enabled() || !node.inputs[0].producer) return nullptr;
    if (const auto* probe = detail::Probe::innermost(); probe && probe->needs_every_derivative())
      return nullptr;
    const Slice& slice = op->op();
    return slice.count < node.inputs[0].producer->spec.shape[slice.axis] ? &slice : nullptr;
  }

  // The node's cotangent. With the first term, the node joins the nodes to visit.
  Cotangent& reached(const NodePtr& node) {
    const auto [it, fresh] = cotangents_.try_emplace(node.get());
    if (fresh) todo_.push(node);
    return it->second;
  }
  void add(const NodePtr& node, const Tensor& g) { reached(node).add(g); }

  struct Older {
    bool operator()(const NodePtr& a, const NodePtr& b) const { return a->sequence < b->sequence; }
  };
  bool keep_, record_;
  std::array<std::byte, 2048> room_;  // a small tape needs no further memory
  std::pmr::monotonic_buffer_resource memory_{room_.data(), room_.size()};
  std::pmr::unordered_map<const Node*, Cotangent> cotangents_{&memory_};
  std::priority_queue<NodePtr, std::pmr::vector<NodePtr>, Older> todo_{Older(), &memory_};
};

// The caller may edit a leaf's gradient, so its elements must not be shared with another tensor.
Tensor owned(const Tensor& g) {
  const bool alone = g.is_sole_owner() && g.is_contiguous() && !g.requires_grad();
  return alone ? g : clone(g.detach());
}

// A gradient that a pass has computed for a node; in accumulate(), the node's next grad().
struct Found {
  NodePtr node;
  Tensor grad;
};

std::mutex grad_mutex;  // held while gradients are added: passes of several threads may share nodes

// Adds what a pass found to the gradients of the nodes: to all of them, or if it throws, to none.
void accumulate(std::span<Found> found) {
  hold_during_fork<grad_mutex>();
  const NoGrad quiet;
  const std::lock_guard lock(grad_mutex);
  for (auto& [node, grad] : found) {
    Tensor total = node->grad ? add(node->grad, grad) : Tensor();
    if (!total) total = owned(std::exchange(grad, {}));
    grad = std::move(total);
  }
  for (auto& [node, grad] : found) std::swap(node->grad, grad);
}

}  // namespace

void backward(const Tensor& y, const Tensor& cotangent, Retain retain) {
  BackwardPass pass(retain, CreateGraph::no);
  std::pmr::vector<Found> found(pass.memory());
  pass.run("backward", y, cotangent, 0, [&](const NodePtr& node, const Tensor& g) {
    if (node->is_leaf() || node->keeps_grad) found.push_back({node, g});
  });
  accumulate(found);
}

void backward(const Tensor& loss, Retain retain) { backward(loss, Tensor(), retain); }

std::vector<Tensor> grad(const Tensor& y, std::span<const Tensor> xs, const Tensor& cotangent,
                         CreateGraph create, Retain retain) {
  std::unordered_map<const Node*, Tensor> wanted;
  std::uint64_t oldest = ~std::uint64_t{0};
  for (const Tensor& x : xs) {
    if (!x.requires_grad()) fail<GradError>("grad: ", x.spec(), " does not require a gradient");
    wanted.try_emplace(x.node().get());
    oldest = std::min(oldest, x.node()->sequence);
  }
  BackwardPass pass(retain, create);
  pass.run("grad", y, cotangent, oldest, [&](const NodePtr& node, const Tensor& g) {
    if (const auto it = wanted.find(node.get()); it != wanted.end()) it->second = g;
  });
  std::vector<Tensor> grads;
  for (const Tensor& x : xs) {
    const Tensor& g = wanted[x.node().get()];
    grads.push_back(g ? g : zeros_like(x));
  }
  return grads;
}

}  // namespace bobbin
