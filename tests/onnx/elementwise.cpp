// ONNX's elementwise operators.
#include <bobbin/elementwise.h>
#include <bobbin/view.h>

#include <limits>

#include "tests/onnx/operators.h"

namespace tests::onnx {
namespace {

using namespace bobbin;

constexpr double infinity = std::numeric_limits<double>::infinity();

void floating(const Call& c) { require(is_floating(c[0].dtype()), c.node.type + " of integers"); }

// Folds all inputs with a function of two.
template<class F>
Rule fold(F f) {
  return [f](const Call& c) {
    Tensor y = c[0];
    for (std::size_t i = 1; i < c.in.size(); ++i) y = f(y, c[i]);
    return std::vector{y};
  };
}

template<class F>
Rule unary(F f) {
  return [f](const Call& c) { return std::vector<Tensor>{f(c[0], c)}; };
}

template<class F>
Rule of_floating(F f) {
  return [f](const Call& c) {
    floating(c);
    return std::vector<Tensor>{f(c[0], c)};
  };
}

Tensor zero_like(const Tensor& x) { return zeros({}, x.dtype()); }

Tensor either(const Tensor& a, const Tensor& b) { return where(a, ones({}, DType::boolean), b); }

Tensor negated(const Tensor& x) { return eq(x, zeros({}, DType::boolean)); }

DType target(const Call& c) {
  static const std::map<std::int64_t, DType> types{{1, DType::f32},  {2, DType::u8},      {6, DType::i32},
                                                   {7, DType::i64},  {9, DType::boolean}, {10, DType::f16},
                                                   {11, DType::f64}, {16, DType::bf16}};
  const auto found = types.find(c.node.integer("to", 0));
  require(found != types.end(), "Cast to " + std::to_string(c.node.integer("to", 0)));
  return found->second;
}

}  // namespace

void add_elementwise(Rules& r) {
#define ONE(type, f) r[type] = unary([](const Tensor& x, const Call&) { return f(x); });
  ONE("Identity", )
  ONE("Neg", neg)
  ONE("Abs", abs)
  ONE("Sign", sign)
  ONE("Relu", relu)
  ONE("Not", negated)
#undef ONE
#define ONE(type, f) r[type] = of_floating([](const Tensor& x, const Call&) { return f; });
  ONE("Exp", exp(x))
  ONE("Log", log(x))
  ONE("Sqrt", sqrt(x))
  ONE("Reciprocal", reciprocal(x))
  ONE("Sin", sin(x))
  ONE("Cos", cos(x))
  ONE("Tan", sin(x) / cos(x))
  ONE("Tanh", tanh(x))
  ONE("Sinh", (exp(x) - exp(-x)) * 0.5)
  ONE("Cosh", (exp(x) + exp(-x)) * 0.5)
  ONE("Erf", erf(x))
  ONE("Sigmoid", sigmoid(x))
  ONE("Softplus", softplus(x))
  ONE("Softsign", x / (abs(x) + 1))
  ONE("HardSwish", x * clamp(x * (1.0 / 6) + 0.5, 0, 1))
  ONE("Mish", x * tanh(softplus(x)))
  ONE("IsNaN", ne(x, x))
#undef ONE
#define ONE(type, f) r[type] = of_floating([](const Tensor& x, const Call& c) { return f; });
  ONE("LeakyRelu", leaky_relu(x, c.node.number("alpha", 0.01)))
  ONE("Elu", elu(x, c.node.number("alpha", 1)))
  ONE("ThresholdedRelu", where(x > c.node.number("alpha", 1), x, zero_like(x)))
  ONE("HardSigmoid", clamp(x * c.node.number("alpha", 0.2) + c.node.number("beta", 0.5), 0, 1))
  ONE("Swish", x * sigmoid(x * c.node.number("alpha", 1)))
  ONE("Gelu", gelu(x, c.node.text("approximate", "none") == "tanh" ? Gelu::tanh : Gelu::erf))
  ONE("Dropout",
      (require(!c.at(2) || c.at(2).item() == 0 || c.number(1, 0.5) == 0, "Dropout in training"), x))
#undef ONE
  r["Celu"] = of_floating([](const Tensor& x, const Call& c) {
    const double alpha = c.node.number("alpha", 1);
    return where(x > 0, x, expm1(x / alpha) * alpha);
  });
  r["Selu"] = of_floating([](const Tensor& x, const Call& c) {
    return elu(x, c.node.number("alpha", 1.67326319217681884765625)) *
           c.node.number("gamma", 1.05070102214813232421875);
  });
  r["Shrink"] = of_floating([](const Tensor& x, const Call& c) {
    const double bias = c.node.number("bias", 0), lambda = c.node.number("lambd", 0.5);
    return where(x < -lambda, x + bias, where(x > lambda, x - bias, zero_like(x)));
  });
  r["IsInf"] = of_floating([](const Tensor& x, const Call& c) {
    const Tensor above = eq(x, full({}, c.node.integer("detect_positive", 1) ? infinity : 0, x.dtype())),
                 below = eq(x, full({}, c.node.integer("detect_negative", 1) ? -infinity : 0, x.dtype()));
    return either(above, below);
  });
  r["Clip"] = unary([](const Tensor& x, const Call& c) {
    if (is_floating(x.dtype()))
      return clamp(x, c.number(1, c.node.number("min", -infinity)),
                   c.number(2, c.node.number("max", infinity)));
    const Tensor above = c.at(1) ? maximum(x, c.at(1)) : x;
    return c.at(2) ? minimum(above, c.at(2)) : above;
  });

  r["Add"] = fold(add);
  r["Sub"] = fold(sub);
  r["Mul"] = fold(mul);
  r["Max"] = fold(maximum);
  r["Min"] = fold(minimum);
  r["Sum"] = fold(add);
  r["And"] = fold([](const Tensor& a, const Tensor& b) { return where(a, b, zeros({}, DType::boolean)); });
  r["Or"] = fold(either);
  r["Xor"] = fold(ne);
  r["Equal"] = fold(eq);
  r["Less"] = fold(lt);
  r["Greater"] = fold(gt);
  r["LessOrEqual"] = fold(le);
  r["GreaterOrEqual"] = fold(ge);
  r["PRelu"] = of_floating([](const Tensor& x, const Call& c) {
    require(c.opset >= 7 || c[1].numel() == 1, "broadcasting of opset 6");
    return where(x < 0, x * c[1], x);
  });
  r["Div"] = of_floating([](const Tensor& x, const Call& c) { return x / c[1]; });
  r["Pow"] = of_floating([](const Tensor& x, const Call& c) { return pow(x, to(c[1], x.dtype())); });
  r["Mean"] = of_floating([](const Tensor& x, const Call& c) {
    Tensor y = x;
    for (std::size_t i = 1; i < c.in.size(); ++i) y = y + c[i];
    return y / static_cast<double>(c.in.size());
  });
  r["Where"] = [](const Call& c) { return std::vector{where(c[0], c[1], c[2])}; };
  r["Cast"] = [](const Call& c) { return std::vector{to(c[0], target(c))}; };
  r["CastLike"] = [](const Call& c) { return std::vector{to(c[0], c[1].dtype())}; };
}

}  // namespace tests::onnx
