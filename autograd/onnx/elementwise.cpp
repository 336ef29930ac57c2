// Rules of elementwise operations and conversions.
#include "autograd/onnx/rules.h"
#include "ops/elementwise/activation.h"
#include "ops/elementwise/binary.h"
#include "ops/elementwise/unary.h"
#include "ops/view/to_device.h"

namespace bobbin::onnx {
namespace {

using Name = std::string;

// log(u) x / (u - 1) with u = x + 1: the ratio corrects the rounding of u. If u is 1, the result is x; if u
// is x, for large numbers and infinity, it is log(u).
Name log1p(Graph& g, const Name& x, DType d) {
  const Name one = g.number(1, d), u = g.add("Add", {x, one}), log = g.add("Log", {u});
  const Name ratio = g.add("Div", {x, g.add("Sub", {u, one})});
  const Name small = g.add("Where", {g.add("Equal", {u, one}), x, g.add("Mul", {log, ratio})});
  return g.add("Where", {g.add("Equal", {u, x}), log, small});
}

// tanh(x / 2) (e^x + 1), which is accurate near 0.
Name expm1(Graph& g, const Name& x, DType d) {
  const Name half = g.add("Tanh", {g.add("Mul", {x, g.number(0.5, d)})});
  return g.add("Mul", {half, g.add("Add", {g.add("Exp", {x}), g.number(1, d)})});
}

Name gelu_tanh(Graph& g, const Name& x, DType d) {
  constexpr double k = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
  const Name square = g.add("Mul", {x, x}),
             slope = g.add("Add", {g.add("Mul", {square, g.number(0.044715, d)}), g.number(1, d)}),
             inner = g.add("Mul", {g.add("Mul", {x, slope}), g.number(k, d)}),
             gate = g.add("Add", {g.add("Tanh", {inner}), g.number(1, d)});
  return g.add("Mul", {g.add("Mul", {x, g.number(0.5, d)}), gate});
}

}  // namespace

Name gelu(Graph& g, const Name& x, DType d, const char* form) {
  if (g.opset >= 20) return g.add("Gelu", {x}, {{"approximate", Name(form)}});
  if (form == Name("tanh")) return gelu_tanh(g, x, d);
  const Name inner = g.add("Erf", {g.add("Mul", {x, g.number(std::numbers::sqrt2 / 2, d)})}),
             gate = g.add("Add", {inner, g.number(1, d)});
  return g.add("Mul", {g.add("Mul", {x, g.number(0.5, d)}), gate});
}

Name silu(Graph& g, const Name& x) { return g.add("Mul", {x, g.add("Sigmoid", {x})}); }

namespace {

// to_onnx(graph, operation, step), for every operation of the list, adds the nodes and returns the name of
// their result.

// Operations that are one node.
#define BOBBIN_NODE(Op, type) \
  Name to_onnx(Graph& g, const Op&, const Step& s) { return g.add(type, s.in); }
BOBBIN_NODE(Neg, "Neg")
BOBBIN_NODE(Abs, "Abs")
BOBBIN_NODE(Sign, "Sign")
BOBBIN_NODE(Exp, "Exp")
BOBBIN_NODE(Log, "Log")
BOBBIN_NODE(Sqrt, "Sqrt")
BOBBIN_NODE(Reciprocal, "Reciprocal")
BOBBIN_NODE(Sin, "Sin")
BOBBIN_NODE(Cos, "Cos")
BOBBIN_NODE(Tanh, "Tanh")
BOBBIN_NODE(Erf, "Erf")
BOBBIN_NODE(Sigmoid, "Sigmoid")
BOBBIN_NODE(Softplus, "Softplus")
BOBBIN_NODE(Add, "Add")
BOBBIN_NODE(Sub, "Sub")
BOBBIN_NODE(Mul, "Mul")
BOBBIN_NODE(Div, "Div")
BOBBIN_NODE(Pow, "Pow")
BOBBIN_NODE(Maximum, "Max")
BOBBIN_NODE(Minimum, "Min")
BOBBIN_NODE(Eq, "Equal")
BOBBIN_NODE(Lt, "Less")
BOBBIN_NODE(Le, "LessOrEqual")
BOBBIN_NODE(Gt, "Greater")
BOBBIN_NODE(Ge, "GreaterOrEqual")
#undef BOBBIN_NODE

// Relu is for floating dtypes in most runtimes.
Name to_onnx(Graph& g, const Relu&, const Step& s) {
  if (is_floating(s.dtype)) return g.add("Relu", s.in);
  return s.dtype == DType::u8 ? g.add("Identity", s.in) : g.add("Max", {s.in[0], g.number(0, s.dtype)});
}
Name to_onnx(Graph& g, const Square&, const Step& s) { return g.add("Mul", {s.in[0], s.in[0]}); }
Name to_onnx(Graph& g, const Rsqrt&, const Step& s) { return g.add("Reciprocal", {g.add("Sqrt", s.in)}); }
Name to_onnx(Graph& g, const Expm1&, const Step& s) { return expm1(g, s.in[0], s.dtype); }
Name to_onnx(Graph& g, const Log1p&, const Step& s) { return log1p(g, s.in[0], s.dtype); }
Name to_onnx(Graph& g, const Silu&, const Step& s) { return silu(g, s.in[0]); }
Name to_onnx(Graph& g, const GeluErf&, const Step& s) { return gelu(g, s.in[0], s.dtype); }
Name to_onnx(Graph& g, const GeluTanh&, const Step& s) { return gelu(g, s.in[0], s.dtype, "tanh"); }
Name to_onnx(Graph& g, const LeakyRelu& op, const Step& s) {
  return g.add("LeakyRelu", s.in, {{"alpha", op.f.slope}});
}
Name to_onnx(Graph& g, const Elu& op, const Step& s) { return g.add("Elu", s.in, {{"alpha", op.f.alpha}}); }
Name to_onnx(Graph& g, const Clamp& op, const Step& s) {
  return g.add("Clip", {s.in[0], g.number(op.f.low, s.dtype), g.number(op.f.high, s.dtype)});
}
Name to_onnx(Graph& g, const PowScalar& op, const Step& s) {
  return g.add("Pow", {s.in[0], g.number(op.f.exponent, s.dtype)});
}
Name to_onnx(Graph& g, const Ne&, const Step& s) { return g.add("Not", {g.add("Equal", s.in)}); }

}  // namespace

void add_elementwise(Rules& r) {
#define BOBBIN_RULE(Kind, Op) \
  add_rule<Op>(r, [](Graph& g, const Op& op, const Step& s) { return to_onnx(g, op, s); });
  BOBBIN_UNARY_OPS(BOBBIN_RULE)
  BOBBIN_ACTIVATION_OPS(BOBBIN_RULE)
  BOBBIN_BINARY_OPS(BOBBIN_RULE)
  BOBBIN_COMPARISON_OPS(BOBBIN_RULE)
#undef BOBBIN_RULE
  compute_in<Sin>(r, DType::f32, {DType::bf16});
  compute_in<Cos>(r, DType::f32, {DType::bf16});
  compute_in<Elu>(r, DType::f32, {DType::bf16});
  compute_in<Softplus>(r, DType::f32, {DType::bf16});
  compute_in<Neg>(r, DType::i32, {DType::u8});
  compute_in<Lt>(r, DType::i32, {DType::boolean});
  compute_in<Le>(r, DType::i32, {DType::boolean});
  compute_in<Gt>(r, DType::i32, {DType::boolean});
  compute_in<Ge>(r, DType::i32, {DType::boolean});

  add_rule<Where>(r, [](Graph& g, const Where&, const Step& s) {
    if (s.dtype != DType::boolean) return g.add("Where", s.in);
    const Name first = g.add("And", {s.in[0], s.in[1]});
    return g.add("Or", {first, g.add("And", {g.add("Not", {s.in[0]}), s.in[2]})});
  });
  add_rule<ToDevice>(r, "Identity");
  add_rule<ToDType>(r, [](Graph& g, const ToDType& op, const Step& s) {
    if (s.x[0].dtype() == op.dtype) return g.add("Identity", s.in);
    return g.cast(s.in[0], op.dtype);
  });
}

}  // namespace bobbin::onnx
