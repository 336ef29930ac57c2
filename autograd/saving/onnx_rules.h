// What each operation becomes in ONNX.
#pragma once
#include <bobbin/op.h>

#include <functional>
#include <typeindex>
#include <unordered_map>

#include "onnx_graph.h"

namespace bobbin::onnx {

/// One operation that ran: its inputs by name ("" for one left out) and as tensors, and what it made.
struct Step {
  std::vector<std::string> in;
  Inputs x;
  const Tensor& y;
  DType dtype() const { return y.dtype(); }
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

void add_elementwise(Rules&);
void add_products(Rules&);
void add_reductions(Rules&);
void add_layout(Rules&);
const Rules& rules();

std::string gelu(Graph&, const std::string& x, DType);
std::string silu(Graph&, const std::string& x);

}  // namespace bobbin::onnx
