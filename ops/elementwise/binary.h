// Functions of two numbers, with broadcasting; comparisons; where; and conversions.
#pragma once
#include <bobbin/elementwise.h>
#include <bobbin/reduce.h>

#include "ops/elementwise/smooth.h"
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

/// Of a gradient g, a and b: -g a / b^2, the derivative of a / b for b.
struct DivBackward : Ternary<DivBackward, fn::DivBackward> {
  static constexpr std::string_view name = "div_backward";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    const Tensor &g = v.input(0), &a = v.input(1), &b = v.input(2);
    return sum_back(
        v,
        [&] {
          return record(DivBackward{}, {v.grad, a, b});
        },
        [&] {
          return record(DivBackward{}, {v.grad, g, b});
        },
        [&] {
          const Tensor below = wide(b), slope = record(DivBackward{}, {wide(g), wide(a), below});
          return to(wide(v.grad) * (slope / below) * -2, v.grad.dtype());
        });
  }
  static std::vector<Sample> samples() {
    return ternary_samples(
        name, [](Inputs x) { return record(DivBackward{}, x); }, 0.5, 2);
  }
};

struct Div : Binary<Div, fn::Div> {
  static constexpr std::string_view name = "div";
  static constexpr Saves saves(Needs needs) { return needs[1] ? Saves::inputs : Saves::input(1); }
  Grads vjp(const Vjp& v) const {
    const Tensor& b = v.input(1);
    return sum_back(
        v, [&] { return v.grad / b; },
        [&] {
          return record(DivBackward{}, {v.grad, v.input(0), b});
        });
  }
  static std::vector<Sample> samples() { return binary_samples(name, div, 0.5, 2); }
};

/// log a, and 0 where a is 0: the derivative of a power for its exponent is taken as 0 there, the limit for
/// positive exponents.
inline Tensor log_of_base(const Tensor& a) { return log(where(eq(a, scalar(0, a)), ones_like(a), a)); }

/// Of a gradient g, a and b: g b a^(b - 1), the derivative of a^b for a.
struct PowBackward : Ternary<PowBackward, fn::PowBackward> {
  static constexpr std::string_view name = "pow_backward";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    const DType dtype = v.grad.dtype();
    // In f64, in which the products and powers of f32 numbers that are formed here have room.
    const auto f64 = [](const Tensor& t) { return to(t, DType::f64); };
    const Tensor h = f64(v.grad), g = f64(v.input(0)), a = f64(v.input(1)), b = f64(v.input(2));
    return sum_back(
        v,
        [&] {
          return record(PowBackward{}, {v.grad, v.input(1), v.input(2)});
        },
        [&] {
          // A power that was constant stays so: b - 1 would give 0 times infinity at a = 0.
          const Tensor less = where(eq(b, scalar(0, b)), ones_like(b), b - 1);
          return to(record(PowBackward{}, {h * g * b, a, less}), dtype);
        },
        [&] {
          const Tensor by_log = record(PowBackward{}, {g, a, b}) * log_of_base(a);
          return to(h * (g * pow(a, b - 1) + by_log), dtype);
        });
  }
  static std::vector<Sample> samples() {
    auto v = ternary_samples(
        name, [](Inputs x) { return record(PowBackward{}, x); }, 0.3, 2);
    v.push_back({"base 0",
                 {ones({4}, DType::f64), zeros({4}, DType::f64), tensor({0, 1, 2, 3}, DType::f64)},
                 [](Inputs x) { return record(PowBackward{}, x); },
                 {},
                 false});
    return v;
  }
};

struct Pow : Binary<Pow, fn::Pow> {
  static constexpr std::string_view name = "pow";
  static constexpr Saves saves = Saves::inputs | Saves::output;
  Grads vjp(const Vjp& v) const {
    const Tensor &a = v.input(0), &b = v.input(1);
    const auto for_exponent = [&] {
      const Tensor base = wide(a), y = base.dtype() == a.dtype() ? v.output() : pow(base, wide(b));
      return to(wide(v.grad) * y * log_of_base(base), v.grad.dtype());
    };
    return sum_back(
        v,
        [&] {
          return record(PowBackward{}, {v.grad, a, b});
        },
        for_exponent);
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

/// Of a gradient, a and b: the derivative of the larger (smaller) one for a.
template<class Self, class F>
struct ExtremeBackward : Ternary<Self, F> {
  static constexpr Saves saves = Saves::input(1) | Saves::input(2);
  Grads vjp(const Vjp& v) const {
    const auto none = [&](int i) { return zeros(v.spec(i).shape, v.grad.dtype(), v.grad.device()); };
    return sum_back(
        v,
        [&] {
          return record(Self{}, {v.grad, v.input(1), v.input(2)});
        },
        [&] { return none(1); }, [&] { return none(2); });
  }
  static std::vector<Sample> samples() {
    const auto call = [](Inputs x) { return record(Self{}, x); };
    auto v = ternary_samples(Self::name, call, 0.5, 2);
    for (auto& s : v)  // operands that differ by more than a step of finite differences
      if (s.throws.empty()) s.inputs[2] = to(randint(0, 2, s.inputs[2].shape()), DType::f64) * 4 - 1;
    return v;
  }
};
struct MaximumBackward : ExtremeBackward<MaximumBackward, fn::MaximumBackward> {
  static constexpr std::string_view name = "maximum_backward";
};
struct MinimumBackward : ExtremeBackward<MinimumBackward, fn::MinimumBackward> {
  static constexpr std::string_view name = "minimum_backward";
};

/// Maximum and minimum: the gradient goes to the larger (smaller) operand, and in halves to equal operands.
template<class Self, class F>
struct Extreme : Binary<Self, F> {
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    const Tensor &a = v.input(0), &b = v.input(1);
    using Backward = std::conditional_t<std::is_same_v<F, fn::Maximum>, MaximumBackward, MinimumBackward>;
    return sum_back(
        v,
        [&] {
          return record(Backward{}, {v.grad, a, b});
        },
        [&] {
          return record(Backward{}, {v.grad, b, a});
        });
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
