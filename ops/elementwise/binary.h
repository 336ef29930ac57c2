// Functions of two numbers, with broadcasting; comparisons; where; and conversions.
#pragma once
#include <bobbin/elementwise.h>
#include <bobbin/reduce.h>

#include "ops/elementwise/map.h"
#include "ops/samples.h"

namespace bobbin {

/// The gradients of a broadcasting operation. Each is computed if its input needs one, and summed to the
/// input's shape.
template<class... G>
Grads sum_back(const Vjp& v, const G&... gradients) {
  Grads g;
  const auto one = [&](auto& gradient) {
    const int i = static_cast<int>(g.size());
    g.push_back(v.needs(i) ? sum_to(gradient(), v.spec(i).shape) : Tensor());
  };
  (one(gradients), ...);
  return g;
}

struct Add : Binary<Add, fn::Add> {
  static constexpr std::string_view name = "add";
  Grads vjp(const Vjp& v) const {
    return sum_back(
        v, [&] { return v.grad; }, [&] { return v.grad; });
  }
  static std::vector<Sample> samples() { return binary_samples(name, add); }
};

struct Sub : Binary<Sub, fn::Sub> {
  static constexpr std::string_view name = "sub";
  Grads vjp(const Vjp& v) const {
    return sum_back(
        v, [&] { return v.grad; }, [&] { return -v.grad; });
  }
  static std::vector<Sample> samples() { return binary_samples(name, sub); }
};

struct Mul : Binary<Mul, fn::Mul> {
  static constexpr std::string_view name = "mul";
  static constexpr Saves saves(Needs needs) {
    return (needs[0] ? Saves::input(1) : Saves::none) | (needs[1] ? Saves::input(0) : Saves::none);
  }
  Grads vjp(const Vjp& v) const {
    return sum_back(
        v, [&] { return v.grad * v.input(1); }, [&] { return v.grad * v.input(0); });
  }
  static std::vector<Sample> samples() { return binary_samples(name, mul); }
};

struct Div : Binary<Div, fn::Div> {
  static constexpr std::string_view name = "div";
  static constexpr Saves saves(Needs needs) { return needs[1] ? Saves::inputs : Saves::input(1); }
  Grads vjp(const Vjp& v) const {
    const Tensor& b = v.input(1);
    return sum_back(
        v, [&] { return v.grad / b; }, [&] { return -v.grad * (v.input(0) / square(b)); });
  }
  static std::vector<Sample> samples() { return binary_samples(name, div, 0.5, 2); }
};

/// The derivative for the exponent is taken as 0 where the base is 0, the limit for positive exponents.
struct Pow : Binary<Pow, fn::Pow> {
  static constexpr std::string_view name = "pow";
  static constexpr Saves saves = Saves::inputs | Saves::output;
  Grads vjp(const Vjp& v) const {
    const Tensor &a = v.input(0), &b = v.input(1);
    const auto log_base = [&] { return log(where(eq(a, scalar(0, a)), ones_like(a), a)); };
    return sum_back(
        v, [&] { return v.grad * (b * pow(a, b - 1)); }, [&] { return v.grad * (v.output() * log_base()); });
  }
  static std::vector<Sample> samples() {
    auto v = binary_samples(name, pow, 0.3, 2);
    v.push_back({"base 0",
                 {tensor({0, 0}, DType::f64), tensor({2, 3}, DType::f64)},
                 [](Inputs x) { return pow(x[0], x[1]); },
                 {},
                 false});
    return v;
  }
};

/// Maximum and minimum: the gradient goes to the larger (smaller) operand, and in halves to equal operands.
template<class Self, class F>
struct Extreme : Binary<Self, F> {
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    const Tensor &a = v.input(0), &b = v.input(1);
    const Tensor half = v.grad * 0.5, none = scalar(0, v.grad);
    const bool larger = std::is_same_v<F, fn::Maximum>;
    const Tensor first = larger ? a > b : a < b, tie = eq(a, b);
    return sum_back(
        v, [&] { return where(tie, half, where(first, v.grad, none)); },
        [&] { return where(tie, half, where(first, none, v.grad)); });
  }
  static std::vector<Sample> samples() {
    constexpr double at_2 = std::is_same_v<F, fn::Maximum> ? 0 : 1;
    return extreme_samples(Self::name, Self::call, tensor({0.5, at_2, 0.5}, DType::f64));
  }
};
struct Maximum : Extreme<Maximum, fn::Maximum> {
  static constexpr std::string_view name = "maximum";
  static constexpr auto call = maximum;
};
struct Minimum : Extreme<Minimum, fn::Minimum> {
  static constexpr std::string_view name = "minimum";
  static constexpr auto call = minimum;
};

template<class Self, class F>
struct Compare : Binary<Self, F> {
  static constexpr bool differentiable = false;
  static std::vector<Sample> samples() { return binary_samples(Self::name, Self::call); }
};
#define BOBBIN_COMPARE(Op, function)                    \
  struct Op : Compare<Op, fn::Op> {                     \
    static constexpr std::string_view name = #function; \
    static constexpr auto call = function;              \
  };
BOBBIN_COMPARE(Eq, eq)
BOBBIN_COMPARE(Ne, ne)
BOBBIN_COMPARE(Lt, lt)
BOBBIN_COMPARE(Le, le)
BOBBIN_COMPARE(Gt, gt)
BOBBIN_COMPARE(Ge, ge)
#undef BOBBIN_COMPARE

struct Where {
  static constexpr std::string_view name = "where";
  static constexpr Strided strided = Strided::all;
  static constexpr Saves saves = Saves::input(0);
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

struct ToDType {
  DType dtype;
  static constexpr std::string_view name = "to_dtype";
  static constexpr Strided strided = Strided::all;
  TensorSpec infer(Inputs x) const { return {x[0].shape(), dtype, x[0].device()}; }
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs x, Tensor& y) const { cpu(x, y); }  // copy_elements runs on the device of its tensors
  Grads vjp(const Vjp& v) const { return {to(v.grad, v.spec(0).dtype)}; }
  static std::vector<Sample> samples();
};

}  // namespace bobbin
