// What each operation becomes in ONNX.
#pragma once
#include <bobbin/op.h>

#include <functional>
#include <typeindex>
#include <unordered_map>

#include "autograd/onnx/graph.h"

namespace bobbin::onnx {

/// One operation that ran: its inputs by name ("" for one left out) and as tensors, and what it made.
struct Step {
  std::vector<std::string> in;
  Inputs x;
  const Tensor& y;
  DType dtype;  ///< of the result
};

/// Adds an operation's nodes and gives the name of their result; throws ValueError where there are none.
using Rule = std::function<std::string(Graph&, const OpBase&, const Step&)>;
/// By the type of the model of an operation, not by its name, which a program's own may share.
using Rules = std::unordered_map<std::type_index, Rule>;

/// f(graph, operation, step) for T.
template<Operator T, class F>
void add_rule(Rules& rules, F f) {
  rules.emplace(typeid(detail::OpModel<T>), [f](Graph& g, const OpBase& op, const Step& s) {
    return f(g, static_cast<const detail::OpModel<T>&>(op).op(), s);
  });
}
/// T is the node of this type, with the same inputs.
template<Operator T>
void add_rule(Rules& rules, const char* type) {
  rules.emplace(typeid(detail::OpModel<T>),
                [type](Graph& g, const OpBase&, const Step& s) { return g.add(type, s.in); });
}

/// For nodes that take no bf16: such tensors are computed in f32, as Bobbin's kernels do anyway.
template<Operator T>
void widen(Rules& rules) {
  Rule& rule = rules.at(typeid(detail::OpModel<T>));
  rule = [narrow = rule](Graph& g, const OpBase& op, const Step& s) {
    if (s.dtype != DType::bf16) return narrow(g, op, s);
    const auto cast = [&g](const std::string& x, DType d) {
      return g.add("Cast", {x}, {{"to", type_number(d)}});
    };
    Step wide{{}, s.x, s.y, DType::f32};
    for (auto& name : s.in) wide.in.push_back(cast(name, DType::f32));
    return cast(narrow(g, op, wide), DType::bf16);
  };
}

void add_elementwise(Rules&);
void add_products(Rules&);
void add_reductions(Rules&);
void add_layout(Rules&);
const Rules& rules();

std::string gelu(Graph&, const std::string& x, DType);
std::string silu(Graph&, const std::string& x);

}  // namespace bobbin::onnx
