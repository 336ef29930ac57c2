// The rules that translate each operation to nodes of ONNX.
#pragma once
#include <bobbin/op.h>

#include <functional>
#include <typeindex>
#include <unordered_map>

#include "autograd/onnx/graph.h"

namespace bobbin::onnx {

/// One operation that ran: its inputs by name ("" for one that is not given) and as tensors, and its result.
struct Step {
  std::vector<std::string> in;
  Inputs x;
  const Tensor& y;
  DType dtype;  ///< of the result
};

/// Adds an operation's nodes and returns the name of their result. Throws ValueError if ONNX has no such
/// nodes.
using Rule = std::function<std::string(Graph&, const OpBase&, const Step&)>;
/// Rules by the type of an operation, not by its name: a user's operation may have the same name.
using Rules = std::unordered_map<std::type_index, Rule>;

/// Adds the rule f(graph, operation, step) for T.
template<Operator T, class F>
void add_rule(Rules& rules, F f) {
  rules.emplace(typeid(detail::OpModel<T>), [f](Graph& g, const OpBase& op, const Step& s) {
    return f(g, static_cast<const detail::OpModel<T>&>(op).op(), s);
  });
}
/// Adds the rule that T becomes one node of this type, with the same inputs.
template<Operator T>
void add_rule(Rules& rules, const char* type) {
  rules.emplace(typeid(detail::OpModel<T>),
                [type](Graph& g, const OpBase&, const Step& s) { return g.add(type, s.in); });
}

/// Adds a rule for T whose nodes do not support bf16: they compute such tensors in f32, as Bobbin's kernels
/// do.
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

/// Casts inputs of T that are narrower than its result, as those of products under Autocast are.
template<Operator T>
void cast_to_result(Rules& rules) {
  Rule& rule = rules.at(typeid(detail::OpModel<T>));
  rule = [same = rule](Graph& g, const OpBase& op, const Step& s) {
    Step cast = s;
    for (std::size_t i = 0; i < s.in.size(); ++i)
      if (!s.in[i].empty() && s.x[i].dtype() != s.dtype)
        cast.in[i] = g.add("Cast", {s.in[i]}, {{"to", type_number(s.dtype)}});
    return same(g, op, cast);
  };
}

void add_elementwise(Rules&);
void add_products(Rules&);
void add_reductions(Rules&);
void add_norms(Rules&);
void add_views(Rules&);
const Rules& rules();

// Used by several rules.
std::string gelu(Graph&, const std::string& x, DType);
std::string silu(Graph&, const std::string& x);

}  // namespace bobbin::onnx
