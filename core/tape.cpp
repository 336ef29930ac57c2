// The tape's nodes and their release; GradMode, NoGrad and AnomalyMode; and the members of Vjp.
#include <bobbin/op.h>

#include <atomic>
#include <cmath>
#include <utility>

namespace bobbin {
namespace {

std::atomic<std::uint64_t> next_sequence = 0;
thread_local bool recording = true;
thread_local bool anomaly = false;

// Nodes that lose their last reference while another node is being destroyed.
thread_local Node* waiting = nullptr;
thread_local bool destroying = false;

}  // namespace

Node::Node(const TensorSpec& s) : spec(s), sequence(next_sequence.fetch_add(1, std::memory_order_relaxed)) {}

void Node::release() noexcept {
  released = true;
  inputs.clear();
  aux.clear();
  output = {};
}

void Node::destroy(Node* node) noexcept {
  if (destroying) {
    node->next_waiting_ = std::exchange(waiting, node);
    return;
  }
  // A loop, so that a chain of a million nodes does not need a million nested destructors.
  destroying = true;
  std::destroy_at(node);  // its producers may join the list
  while (waiting) {
    node = waiting;
    waiting = node->next_waiting_;
    const std::weak_ptr<Node> memory = node->weak_from_this();  // until the destructor has returned
    std::destroy_at(node);
  }
  destroying = false;
}

bool grad_enabled() { return recording; }
GradMode::GradMode(bool on) : before_(std::exchange(recording, on)) {}
GradMode::~GradMode() { recording = before_; }

bool AnomalyMode::enabled() { return anomaly; }
AnomalyMode::AnomalyMode() : before_(std::exchange(anomaly, true)) {}
AnomalyMode::~AnomalyMode() { anomaly = before_; }

void check_finite(std::string_view what, const Tensor& x) {
  if (!x || !is_floating(x.dtype())) return;
  const auto values = x.to_vector<double>();
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]))
      fail<AnomalyError>(what, std::isnan(values[i]) ? " is NaN" : " is Inf", " at flat index ", i, " of ",
                         x.spec());
}

namespace {
const Tensor& unpack(const Saved& saved, const Node& node, std::string_view what) {
  if (!saved.tensor)
    throw std::logic_error(std::string(node.op->name()) + ": `saves` leaves out what vjp reads");
  if (saved.tensor.version() != saved.version)
    fail<GradError>(node.op->name(), ": ", what, " it saved for its derivative (", saved.tensor.spec(),
                    ") was edited in place since; edit a clone, or edit after backward");
  return saved.tensor;
}
}  // namespace

const Tensor& Vjp::input(int i) const {
  return unpack(node_.inputs[static_cast<std::size_t>(i)].saved, node_, "an input");
}
const Tensor& Vjp::aux(int i) const {
  return unpack(node_.aux[static_cast<std::size_t>(i)], node_, "a tensor");
}

Tensor Vjp::output() const {
  Tensor y = unpack(node_.output, node_, "the output").detach();
  y.set_node(node_.weak_from_this().lock());
  return y;
}

const TensorSpec& Vjp::spec(int i) const {
  const auto& producer = node_.inputs[static_cast<std::size_t>(i)].producer;
  return producer ? producer->spec : input(i).spec();
}

Grads Vjp::empty_grads() const {
  Grads grads(node_.inputs.size());
  for (int i = 0; i < count(); ++i)
    if (needs(i)) grads[static_cast<std::size_t>(i)] = empty(spec(i));
  return grads;
}

}  // namespace bobbin
