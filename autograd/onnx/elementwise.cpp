#include "autograd/onnx/rules.h"
#include "ops/elementwise/activation.h"
#include "ops/elementwise/binary.h"
#include "ops/elementwise/unary.h"
#include "ops/view/transfer.h"

namespace bobbin::onnx {
namespace {

using Name = std::string;

// x + 1 - 1 is not x, and what rounding took is given back by the ratio. Where it took all, of the 1 (or an
// infinity) or of x, there is none.
Name log1p(Graph& g, const Name& x, DType d) {
  const Name one = g.number(1, d), u = g.add("Add", {x, one}), log = g.add("Log", {u});
  const Name ratio = g.add("Div", {x, g.add("Sub", {u, one})});
  const Name small = g.add("Where", {g.add("Equal", {u, one}), x, g.add("Mul", {log, ratio})});
  return g.add("Where", {g.add("Equal", {u, x}), log, small});
}

// tanh(x / 2) (e^x + 1), which keeps the digits near 0.
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

Name gelu(Graph& g, const Name& x, DType d) {
  const Name inner = g.add("Erf", {g.add("Mul", {x, g.number(std::numbers::sqrt2 / 2, d)})}),
             gate = g.add("Add", {inner, g.number(1, d)});
  return g.add("Mul", {g.add("Mul", {x, g.number(0.5, d)}), gate});
}

Name silu(Graph& g, const Name& x) { return g.add("Mul", {x, g.add("Sigmoid", {x})}); }

void add_elementwise(Rules& r) {
  add_rule<Neg>(r, "Neg");
  add_rule<Abs>(r, "Abs");
  add_rule<Sign>(r, "Sign");
  add_rule<Exp>(r, "Exp");
  add_rule<Log>(r, "Log");
  add_rule<Sqrt>(r, "Sqrt");
  add_rule<Reciprocal>(r, "Reciprocal");
  add_rule<Sin>(r, "Sin");
  add_rule<Cos>(r, "Cos");
  add_rule<Tanh>(r, "Tanh");
  add_rule<Erf>(r, "Erf");
  add_rule<Sigmoid>(r, "Sigmoid");
  add_rule<Relu>(r, "Relu");
  add_rule<Softplus>(r, "Softplus");
  add_rule<Square>(r, [](Graph& g, const Square&, const Step& s) {
    return g.add("Mul", {s.in[0], s.in[0]});
  });
  add_rule<Rsqrt>(
      r, [](Graph& g, const Rsqrt&, const Step& s) { return g.add("Reciprocal", {g.add("Sqrt", s.in)}); });
  add_rule<Expm1>(r, [](Graph& g, const Expm1&, const Step& s) { return expm1(g, s.in[0], s.dtype); });
  add_rule<Log1p>(r, [](Graph& g, const Log1p&, const Step& s) { return log1p(g, s.in[0], s.dtype); });
  add_rule<Silu>(r, [](Graph& g, const Silu&, const Step& s) { return silu(g, s.in[0]); });
  add_rule<GeluErf>(r, [](Graph& g, const GeluErf&, const Step& s) { return gelu(g, s.in[0], s.dtype); });
  add_rule<GeluTanh>(r,
                     [](Graph& g, const GeluTanh&, const Step& s) { return gelu_tanh(g, s.in[0], s.dtype); });
  add_rule<LeakyRelu>(r, [](Graph& g, const LeakyRelu& op, const Step& s) {
    return g.add("LeakyRelu", s.in, {{"alpha", op.f.slope}});
  });
  add_rule<Elu>(r, [](Graph& g, const Elu& op, const Step& s) {
    return g.add("Elu", s.in, {{"alpha", op.f.alpha}});
  });
  add_rule<Clamp>(r, [](Graph& g, const Clamp& op, const Step& s) {
    return g.add("Clip", {s.in[0], g.number(op.f.low, s.dtype), g.number(op.f.high, s.dtype)});
  });
  add_rule<PowScalar>(r, [](Graph& g, const PowScalar& op, const Step& s) {
    return g.add("Pow", {s.in[0], g.number(op.f.exponent, s.dtype)});
  });
  widen<Sin>(r);
  widen<Cos>(r);
  widen<Elu>(r);
  widen<Softplus>(r);

  add_rule<Add>(r, "Add");
  add_rule<Sub>(r, "Sub");
  add_rule<Mul>(r, "Mul");
  add_rule<Div>(r, "Div");
  add_rule<Pow>(r, "Pow");
  add_rule<Maximum>(r, "Max");
  add_rule<Minimum>(r, "Min");
  add_rule<Eq>(r, "Equal");
  add_rule<Ne>(r, [](Graph& g, const Ne&, const Step& s) { return g.add("Not", {g.add("Equal", s.in)}); });
  add_rule<Lt>(r, "Less");
  add_rule<Le>(r, "LessOrEqual");
  add_rule<Gt>(r, "Greater");
  add_rule<Ge>(r, "GreaterOrEqual");
  add_rule<Where>(r, "Where");
  add_rule<ToDevice>(r, "Identity");
  add_rule<ToDType>(r, [](Graph& g, const ToDType& op, const Step& s) {
    if (s.x[0].dtype() == op.dtype) return g.add("Identity", s.in);
    return g.add("Cast", s.in, {{"to", type_number(op.dtype)}});
  });
}

}  // namespace bobbin::onnx
