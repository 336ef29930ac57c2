#include <bobbin/op.h>
#include <bobbin/tape.h>

#include <atomic>
#include <cmath>
#include <utility>

namespace bobbin {
namespace {

std::atomic<std::uint64_t> next_sequence = 0;
thread_local bool recording = true;
thread_local bool anomaly = false;

// Nodes dropped while another is being destroyed wait here, so that a chain of a million is released by a
// loop and not by a million nested destructors.
thread_local std::vector<std::shared_ptr<Node>>* dropped = nullptr;

}  // namespace

Node::Node(TensorSpec s)
    : spec(std::move(s)), sequence(next_sequence.fetch_add(1, std::memory_order_relaxed)) {}

void Node::release() {
  released = true;
  // A saved tensor holds its own node, so both ways down are taken off before anything is freed.
  std::vector<std::shared_ptr<Node>> below = std::move(edges);
  for (auto* list : {&inputs, &aux})
    for (auto& s : *list)
      if (s.tensor && s.tensor.node()) below.push_back(s.tensor.node());
  if (dropped) {
    for (auto& n : below) dropped->push_back(std::move(n));
    inputs.clear();
    aux.clear();
    output = {};
    return;
  }
  std::vector<std::shared_ptr<Node>> pending = std::move(below);
  dropped = &pending;
  inputs.clear();
  aux.clear();
  output = {};
  while (!pending.empty()) {
    auto n = std::move(pending.back());
    pending.pop_back();
    n.reset();  // may push what it held
  }
  dropped = nullptr;
}

Node::~Node() {
  release();
}

bool grad_enabled() {
  return recording;
}
GradMode::GradMode(bool on) : before_(std::exchange(recording, on)) {}
GradMode::~GradMode() {
  recording = before_;
}

bool AnomalyMode::enabled() {
  return anomaly;
}
AnomalyMode::AnomalyMode() : before_(std::exchange(anomaly, true)) {}
AnomalyMode::~AnomalyMode() {
  anomaly = before_;
}

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
  return unpack(node_.inputs[static_cast<std::size_t>(i)], node_, "an input");
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
  const auto& edge = node_.edges[static_cast<std::size_t>(i)];
  return edge ? edge->spec : input(i).spec();
}

}  // namespace bobbin
