// ONNX files read for tests: a graph of nodes, its constants and ports, and single tensors.
#pragma once
#include <bobbin/tensor.h>

#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace tests::onnx {

using bobbin::Tensor;
using Ints = std::vector<std::int64_t>;

/// Thrown for what a file says and Bobbin has no words for, such as a dtype or an operator.
struct NotExpressible : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The value of an attribute; which member holds it depends on the attribute.
struct Attribute {
  float number = 0;
  std::int64_t integer = 0;
  std::string text;
  Ints integers;
  Tensor tensor;
};

/// One node of a graph.
struct Node {
  std::string type;
  std::vector<std::string> inputs, outputs;  // "" for one that is left out
  std::map<std::string, Attribute> attributes;

  std::int64_t integer(const std::string& name, std::int64_t otherwise) const;
  double number(const std::string& name, double otherwise) const;
  std::string text(const std::string& name, const std::string& otherwise) const;
  Ints integers(const std::string& name, const Ints& otherwise = {}) const;
  bool has(const std::string& name) const { return attributes.contains(name); }
};

/// A model's graph.
struct Model {
  std::int64_t opset = 0;
  std::vector<Node> nodes;
  std::map<std::string, Tensor> constants;
  std::vector<std::string> inputs, outputs;  // inputs that are constants too are left out
};

/// The model in a file.
Model read_model(const std::filesystem::path&);
/// The tensor in a file that holds one TensorProto.
Tensor read_tensor(const std::filesystem::path&);

/// The results of a node of an opset; implemented for the operators that Bobbin has words for.
std::vector<Tensor> run(const Node&, const std::vector<Tensor>& inputs, std::int64_t opset);
/// The outputs of a model.
std::vector<Tensor> run(const Model&, const std::vector<Tensor>& inputs);

}  // namespace tests::onnx
