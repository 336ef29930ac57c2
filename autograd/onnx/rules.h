// The rules that translate each operation to nodes of ONNX.
#pragma once
#include <bobbin/op.h>

#include <algorithm>
#include <concepts>
#include <functional>
#include <typeindex>
#include <unordered_map>

#include "autograd/onnx/graph.h"
#include "core/probe.h"

namespace bobbin {
struct AttentionTerms;
}

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

/// A function that is made of several operations has run: its inputs by name ("" for one that is not given)
/// and as tensors, and its results.
struct Call {
  std::vector<std::string> in;
  Inputs x, y;
};

/// Adds the nodes of a function and returns the names of its results; returns none if the nodes of the
/// operations that it is made of are better.
using CompositeRule = std::function<std::vector<std::string>(Graph&, const detail::Composite&, const Call&)>;
using CompositeRules = std::unordered_map<std::type_index, CompositeRule>;

/// Adds the rule f(graph, function, call) for T.
template<std::derived_from<detail::Composite> T, class F>
void add_rule(CompositeRules& rules, F f) {
  rules.emplace(typeid(T), [f](Graph& g, const detail::Composite& of, const Call& c) {
    return f(g, static_cast<const T&>(of), c);
  });
}

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

/// Makes T's rule compute in `carrier` where the first operand has one of these dtypes, which the rule's
/// nodes do not take: operands of that dtype are converted, and the result back, if it has that dtype.
template<Operator T>
void compute_in(Rules& rules, DType carrier, const std::vector<DType>& dtypes) {
  Rule& rule = rules.at(typeid(detail::OpModel<T>));
  rule = [carrier, dtypes, narrow = rule](Graph& g, const OpBase& op, const Step& s) {
    const DType own = s.x[0].dtype();
    if (std::find(dtypes.begin(), dtypes.end(), own) == dtypes.end()) return narrow(g, op, s);
    Step wide{s.in, s.x, s.y, s.dtype == own ? carrier : s.dtype};
    for (std::size_t i = 0; i < wide.in.size(); ++i)
      if (!wide.in[i].empty() && s.x[i].dtype() == own) wide.in[i] = g.cast(wide.in[i], carrier);
    const std::string y = narrow(g, op, wide);
    return s.dtype == own ? g.cast(y, own) : y;
  };
}

/// Casts inputs of T that are narrower than its result, as those of products under Autocast are.
template<Operator T>
void cast_to_result(Rules& rules) {
  Rule& rule = rules.at(typeid(detail::OpModel<T>));
  rule = [same = rule](Graph& g, const OpBase& op, const Step& s) {
    Step cast = s;
    for (std::size_t i = 0; i < s.in.size(); ++i)
      if (!s.in[i].empty() && s.x[i].dtype() != s.dtype) cast.in[i] = g.cast(s.in[i], s.dtype);
    return same(g, op, cast);
  };
}

void add_elementwise(Rules&);
void add_products(Rules&);
void add_reductions(Rules&);
void add_norms(Rules&);
void add_views(Rules&);
const Rules& rules();
void add_batch_norm(CompositeRules&);
void add_recurrent(CompositeRules&);
const CompositeRules& composite_rules();
/// The node of attention, or "" if the operations that compute the same are better.
std::string attention(Graph&, const AttentionTerms&, const Step&);

// Used by several rules.
std::string gelu(Graph&, const std::string& x, DType, const char* form = "none");
std::string silu(Graph&, const std::string& x);
std::string reduce(Graph&, const char* type, const std::string& x, const Ints& axes, bool keep);

}  // namespace bobbin::onnx
