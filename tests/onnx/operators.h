// What ONNX's operators mean in Bobbin's words, by their names.
#pragma once
#include <functional>

#include "tests/onnx/model.h"

namespace tests::onnx {

/// A node that runs: its attributes and inputs.
struct Call {
  const Node& node;
  const std::vector<Tensor>& in;
  std::int64_t opset;

  /// Input i, undefined if it is left out.
  Tensor at(std::size_t i) const { return i < in.size() ? in[i] : Tensor(); }
  /// Input i, which must be given.
  const Tensor& operator[](std::size_t i) const;
  /// The i64 elements of input i, or of the attribute of that name, or none.
  Ints list(std::size_t i, const std::string& attribute) const;
  /// The number in input i.
  double number(std::size_t i, double otherwise) const;
};

using Rule = std::function<std::vector<Tensor>(const Call&)>;
using Rules = std::map<std::string, Rule>;

void add_elementwise(Rules&);
void add_shapes(Rules&);
void add_reductions(Rules&);
void add_layers(Rules&);
void add_windows(Rules&);

/// Fails unless `holds`, with what cannot be expressed.
void require(bool holds, const std::string& what);
/// The numbers as a shape or as axes.
bobbin::Dims dims(const Ints&);

}  // namespace tests::onnx
