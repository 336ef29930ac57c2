// Adds to an ONNX graph and removes from it.
#include "autograd/onnx/graph.h"

#include <algorithm>

namespace bobbin::onnx {

std::string Graph::unique(const std::string& wanted) {
  if (names.try_emplace(wanted, wanted).second) return wanted;
  for (int i = 1;; ++i)
    if (std::string name = wanted + "_" + std::to_string(i); names.try_emplace(name, wanted).second)
      return name;
}

std::string Graph::add(const std::string& type, std::vector<std::string> inputs, Attributes attributes) {
  return add(type, 1, std::move(inputs), std::move(attributes))[0];
}

std::vector<std::string> Graph::add(const std::string& type, std::size_t results,
                                    std::vector<std::string> inputs, Attributes attributes) {
  std::vector<std::string> outputs;
  for (std::size_t i = 0; i < results; ++i) outputs.push_back(unique(type));
  nodes.push_back(
      {.type = type, .inputs = std::move(inputs), .outputs = outputs, .attributes = std::move(attributes)});
  return outputs;
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
  const auto wanted = [&](const Node& node) {
    return std::any_of(node.outputs.begin(), node.outputs.end(),
                       [&](auto& name) { return needed.contains(name); });
  };
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node)
    if (wanted(*node)) needed.insert(node->inputs.begin(), node->inputs.end());
  std::erase_if(nodes, [&](const Node& node) { return !wanted(node); });
  std::erase_if(constants, [&](const Constant& c) { return !needed.contains(c.name); });
}

void Graph::renumber() {
  const auto before = std::exchange(names, {{input.name, input.name}, {output.name, output.name}});
  std::map<std::string, std::string> now{{"", ""}, {input.name, input.name}, {output.name, output.name}};
  const auto rename = [&](std::string& name) {
    if (const auto known = now.find(name); known != now.end())
      name = known->second;
    else
      name = now[name] = unique(before.at(name));
  };
  for (auto& c : constants) rename(c.name);
  for (auto& node : nodes) {
    for (auto& name : node.inputs) rename(name);
    for (auto& name : node.outputs) rename(name);
  }
}

}  // namespace bobbin::onnx
