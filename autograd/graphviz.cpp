#include <bobbin/graphviz.h>
#include <bobbin/op.h>
#include <fmt/format.h>

#include <unordered_map>
#include <vector>

namespace bobbin {
namespace {

std::int64_t saved_bytes(const Node& n) {
  std::int64_t bytes = 0;
  const auto count = [&](const Saved& s) {
    if (s.tensor) bytes += s.tensor.numel() * size_of(s.tensor.dtype());
  };
  for (auto& e : n.inputs) count(e.saved);
  for (auto& s : n.aux) count(s);
  count(n.output);
  return bytes;
}

std::string text(const TensorSpec& spec) {
  std::ostringstream out;
  out << spec;
  return out.str();
}

}  // namespace

std::string to_dot(const Tensor& y) {
  std::string out = "digraph tape {\n  rankdir=BT;\n  node [fontname=\"Helvetica\", fontsize=11];\n";
  std::unordered_map<const Node*, std::size_t> number;
  std::vector<const Node*> todo;
  const auto visit = [&](const Node* n) {
    if (number.try_emplace(n, number.size()).second) todo.push_back(n);
    return number[n];
  };
  if (y.node()) visit(y.node().get());
  while (!todo.empty()) {
    const Node* n = todo.back();
    todo.pop_back();
    const std::size_t id = number[n];
    if (n->is_leaf())
      out += fmt::format("  n{} [shape=box, style=filled, fillcolor=\"#dcebf7\", label=\"leaf\\n{}\"];\n", id,
                         text(n->spec));
    else
      out += fmt::format("  n{} [label=\"{}\\n{}\\nsaves {} bytes\"];\n", id, n->op->name(), text(n->spec),
                         saved_bytes(*n));
    for (auto& edge : n->inputs)
      if (edge.producer) out += fmt::format("  n{} -> n{};\n", visit(edge.producer.get()), id);
  }
  return out + "}\n";
}

}  // namespace bobbin
