// Draws the tape as a graph, and lists it as text.
#include <bobbin/graphviz.h>
#include <bobbin/op.h>
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <vector>

template<>
struct fmt::formatter<bobbin::TensorSpec> : fmt::ostream_formatter {};

namespace bobbin {
namespace {

// Calls f(storage, bytes) for each tensor that the node saves for its derivative.
template<class F>
void each_saved(const Node& n, F&& f) {
  const auto one = [&](const Saved& s) {
    if (s.tensor) f(s.tensor.storage().get(), s.tensor.numel() * size_of(s.tensor.dtype()));
  };
  for (auto& e : n.inputs) one(e.saved);
  for (auto& s : n.aux) one(s);
  one(n.output);
}

std::int64_t saved_bytes(const Node& n) {
  std::int64_t bytes = 0;
  each_saved(n, [&](const Storage*, std::int64_t b) { bytes += b; });
  return bytes;
}

// All nodes that y depends on, each once, newest first.
std::vector<const Node*> tape_below(const Tensor& y) {
  std::vector<const Node*> nodes;
  std::unordered_set<const Node*> seen;
  const auto add = [&](const Node* n) {
    if (n && seen.insert(n).second) nodes.push_back(n);
  };
  add(y.node().get());
  for (std::size_t i = 0; i < nodes.size(); ++i)
    for (auto& edge : nodes[i]->inputs) add(edge.producer.get());
  std::ranges::sort(nodes, std::greater<>(), &Node::sequence);
  return nodes;
}

std::unordered_map<const Node*, std::size_t> numbered(const std::vector<const Node*>& nodes) {
  std::unordered_map<const Node*, std::size_t> number;
  for (const Node* n : nodes) number.emplace(n, number.size());
  return number;
}

}  // namespace

std::string to_dot(const Tensor& y) {
  std::string out = "digraph tape {\n  rankdir=BT;\n  node [fontname=\"Helvetica\", fontsize=11];\n";
  const auto nodes = tape_below(y);
  auto number = numbered(nodes);
  for (const Node* n : nodes) {
    const std::size_t id = number[n];
    if (n->is_leaf())
      out += fmt::format("  n{} [shape=box, style=filled, fillcolor=\"#dcebf7\", label=\"leaf\\n{}\"];\n", id,
                         n->spec);
    else
      out += fmt::format("  n{} [label=\"{}\\n{}\\nsaves {} bytes\"];\n", id, n->op->name(), n->spec,
                         saved_bytes(*n));
    for (auto& edge : n->inputs)
      if (edge.producer) out += fmt::format("  n{} -> n{};\n", number[edge.producer.get()], id);
  }
  return out + "}\n";
}

std::string tape_summary(const Tensor& y) {
  const auto nodes = tape_below(y);
  auto number = numbered(nodes);
  std::string out;
  std::size_t leaves = 0;
  std::unordered_map<const Storage*, std::int64_t> blocks;  // a block that several nodes save counts once
  for (const Node* n : nodes) {
    std::string from;
    for (auto& edge : n->inputs)
      from += edge.producer       ? fmt::format(" %{}", number[edge.producer.get()])
              : edge.saved.tensor ? " constant"
                                  : "";
    if (n->is_leaf()) ++leaves;
    each_saved(*n, [&](const Storage* s, std::int64_t b) { blocks[s] = std::max(blocks[s], b); });
    out += fmt::format("{:<24}{:<20}{}\n",
                       fmt::format("%{} {}", number[n], n->is_leaf() ? "leaf" : n->op->name()),
                       fmt::format("{}", n->spec),
                       n->is_leaf() ? "" : fmt::format("saves {} bytes, from{}", saved_bytes(*n), from));
  }
  std::int64_t bytes = 0;
  for (auto& [block, b] : blocks) bytes += b;
  return out + fmt::format("{} operations on {} leaves keep {} bytes for their derivatives\n",
                           nodes.size() - leaves, leaves, bytes);
}

}  // namespace bobbin
