// The table of operators, and how their inputs are read.
#include "tests/onnx/operators.h"

#include <bobbin/elementwise.h>

namespace tests::onnx {

using namespace bobbin;

const Tensor& Call::operator[](std::size_t i) const {
  require(i < in.size() && in[i], node.type + " without input");
  return in[i];
}

Ints Call::list(std::size_t i, const std::string& attribute) const {
  if (const Tensor t = at(i)) return to(t, DType::i64).to_vector<std::int64_t>();
  return node.integers(attribute);
}

double Call::number(std::size_t i, double otherwise) const {
  const Tensor t = at(i);
  return t ? t.item() : otherwise;
}

void require(bool holds, const std::string& what) {
  if (!holds) throw NotExpressible(what);
}

Dims dims(const Ints& values) {
  require(values.size() <= 8, "rank " + std::to_string(values.size()));
  return Dims(std::span<const std::int64_t>(values));
}

std::vector<Tensor> run(const Node& node, const std::vector<Tensor>& inputs, std::int64_t opset) {
  static const Rules rules = [] {
    Rules r;
    add_elementwise(r);
    add_shapes(r);
    add_reductions(r);
    add_layers(r);
    add_windows(r);
    return r;
  }();
  const auto rule = rules.find(node.type);
  require(rule != rules.end(), node.type);
  return rule->second({node, inputs, opset});
}

}  // namespace tests::onnx
