// Adds to an ONNX graph and removes from it.
#include "autograd/onnx/graph.h"

namespace bobbin::onnx {

std::string Graph::unique(const std::string& wanted) {
  if (names.insert(wanted).second) return wanted;
  for (int i = 1;; ++i)
    if (std::string name = wanted + "_" + std::to_string(i); names.insert(name).second) return name;
}

std::string Graph::add(const std::string& type, std::vector<std::string> inputs, Attributes attributes) {
  nodes.push_back({.type = type,
                   .inputs = std::move(inputs),
                   .output = unique(type),
                   .attributes = std::move(attributes)});
  return nodes.back().output;
}

std::string Graph::cast(const std::string& x, DType d) { return add("Cast", {x}, {{"to", type_number(d)}}); }

std::string Graph::constant(const std::string& wanted, const Tensor& value) {
  constants.push_back({unique(wanted), value, value.version(), false});
  return constants.back().name;
}

std::string Graph::sizes(const Ints& values) {
  const std::string name = constant("sizes", from_range(values));
  constants.back().sizes = true;
  return name;
}

void Graph::prune() {
  std::set<std::string> needed{output.name};
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node)
    if (needed.contains(node->output)) needed.insert(node->inputs.begin(), node->inputs.end());
  std::erase_if(nodes, [&](const Node& c) { return !needed.contains(c.output); });
  std::erase_if(constants, [&](const Constant& c) { return !needed.contains(c.name); });
}

}  // namespace bobbin::onnx
