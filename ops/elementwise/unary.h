// Functions of one number: names, derivatives and samples.
#pragma once
#include <bobbin/elementwise.h>

#include "ops/elementwise/map.h"
#include "ops/samples.h"

namespace bobbin {

struct Neg : Unary<Neg, fn::Neg> {
  static constexpr std::string_view name = "neg";
  Grads vjp(const Vjp& v) const { return {-v.grad}; }
  static std::vector<Sample> samples() { return unary_samples(name, neg, -2, 2, false); }
};

struct Abs : Unary<Abs, fn::Abs> {
  static constexpr std::string_view name = "abs";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const { return {v.grad * sign(v.input(0))}; }
  static std::vector<Sample> samples() {
    auto v = unary_samples_off_zero(name, abs, false);
    v.push_back(kink_at_zero(abs, 0, 1, -1));
    return v;
  }
};

struct Sign : Unary<Sign, fn::Sign> {
  static constexpr std::string_view name = "sign";
  Grads vjp(const Vjp& v) const { return {zeros_like(v.grad)}; }
  static std::vector<Sample> samples() { return unary_samples_off_zero(name, sign, false); }
};

struct Square : Unary<Square, fn::Square> {
  static constexpr std::string_view name = "square";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const { return {v.grad * (v.input(0) * 2)}; }
  static std::vector<Sample> samples() { return unary_samples(name, square, -2, 2, false); }
};

struct Exp : Unary<Exp, fn::Exp> {
  static constexpr std::string_view name = "exp";
  static constexpr Saves saves = Saves::output;
  Grads vjp(const Vjp& v) const { return {v.grad * v.output()}; }
  static std::vector<Sample> samples() { return unary_samples(name, exp, -2, 2); }
};

struct Expm1 : Unary<Expm1, fn::Expm1> {
  static constexpr std::string_view name = "expm1";
  static constexpr Saves saves = Saves::output;
  Grads vjp(const Vjp& v) const { return {v.grad * (v.output() + 1)}; }
  static std::vector<Sample> samples() { return unary_samples(name, expm1, -2, 2); }
};

struct Log : Unary<Log, fn::Log> {
  static constexpr std::string_view name = "log";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const { return {v.grad / v.input(0)}; }
  static std::vector<Sample> samples() { return unary_samples(name, log, 0.2, 3); }
};

struct Log1p : Unary<Log1p, fn::Log1p> {
  static constexpr std::string_view name = "log1p";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const { return {v.grad / (v.input(0) + 1)}; }
  static std::vector<Sample> samples() { return unary_samples(name, log1p, -0.7, 3); }
};

struct Sqrt : Unary<Sqrt, fn::Sqrt> {
  static constexpr std::string_view name = "sqrt";
  static constexpr Saves saves = Saves::output;
  Grads vjp(const Vjp& v) const { return {v.grad / (v.output() * 2)}; }
  static std::vector<Sample> samples() { return unary_samples(name, sqrt, 0.2, 3); }
};

struct Rsqrt : Unary<Rsqrt, fn::Rsqrt> {
  static constexpr std::string_view name = "rsqrt";
  static constexpr Saves saves = Saves::output;
  Grads vjp(const Vjp& v) const {
    const Tensor y = v.output();
    return {v.grad * (square(y) * y * -0.5)};
  }
  static std::vector<Sample> samples() { return unary_samples(name, rsqrt, 0.2, 3); }
};

struct Reciprocal : Unary<Reciprocal, fn::Reciprocal> {
  static constexpr std::string_view name = "reciprocal";
  static constexpr Saves saves = Saves::output;
  Grads vjp(const Vjp& v) const { return {-v.grad * square(v.output())}; }
  static std::vector<Sample> samples() { return unary_samples_off_zero(name, reciprocal); }
};

struct Sin : Unary<Sin, fn::Sin> {
  static constexpr std::string_view name = "sin";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const { return {v.grad * cos(v.input(0))}; }
  static std::vector<Sample> samples() { return unary_samples(name, sin, -3, 3); }
};

struct Cos : Unary<Cos, fn::Cos> {
  static constexpr std::string_view name = "cos";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const { return {-v.grad * sin(v.input(0))}; }
  static std::vector<Sample> samples() { return unary_samples(name, cos, -3, 3); }
};

struct Tanh : Unary<Tanh, fn::Tanh> {
  static constexpr std::string_view name = "tanh";
  static constexpr Saves saves = Saves::output;
  static Tensor slope(const Tensor& y) { return 1 - square(y); }
  Grads vjp(const Vjp& v) const { return {v.grad * slope(v.output())}; }
  static std::vector<Sample> samples() { return unary_samples(name, tanh, -2, 2); }
};

struct Erf : Unary<Erf, fn::Erf> {
  static constexpr std::string_view name = "erf";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    return {v.grad * (exp(-square(v.input(0))) * (2 * std::numbers::inv_sqrtpi))};
  }
  static std::vector<Sample> samples() { return unary_samples(name, erf, -2, 2); }
};

/// x to a constant power, which is an attribute.
struct PowScalar : Unary<PowScalar, fn::PowScalar> {
  static constexpr std::string_view name = "pow_scalar";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    if (f.exponent == 0) return {zeros_like(v.grad)};
    return {v.grad * (pow(v.input(0), f.exponent - 1) * f.exponent)};
  }
  static std::vector<Sample> samples() {
    auto v = unary_samples(
        name, [](const Tensor& x) { return pow(x, 2.5); }, 0.2, 2);
    auto cube = unary_samples(
        name, [](const Tensor& x) { return pow(x, 3); }, -2, 2);
    auto zero = unary_samples(
        name, [](const Tensor& x) { return pow(x, 0); }, -2, 2);
    v.insert(v.end(), cube.begin(), cube.begin() + 1);
    v.insert(v.end(), zero.begin(), zero.begin() + 1);
    return v;
  }
};

struct Clamp : Unary<Clamp, fn::Clamp> {
  static constexpr std::string_view name = "clamp";
  static constexpr Saves saves = Saves::inputs;
  TensorSpec infer(Inputs x) const {
    if (!(f.low <= f.high)) fail<ValueError>(name, ": expected low <= high; got ", f.low, " and ", f.high);
    return Unary::infer(x);
  }
  Grads vjp(const Vjp& v) const {
    const Tensor& x = v.input(0);
    const Tensor inside = mul(to(x >= f.low, x.dtype()), to(x <= f.high, x.dtype()));
    return {v.grad * inside};
  }
  static std::vector<Sample> samples() {
    auto v = unary_samples_off_zero(
        name, [](const Tensor& x) { return clamp(x, 0, 5); }, false);
    v.push_back(at_kinks(
        "at the ends", {tensor({-1, 0, 1, 5, 6}, DType::f64)}, [](Inputs x) { return clamp(x[0], 0, 5); },
        tensor({0, 1, 1, 1, 0}, DType::f64)));
    v.push_back(invalid(
        "low > high", {tensor({1}, DType::f64)}, [](Inputs x) { return clamp(x[0], 2, 1); },
        "clamp: expected low <= high; got 2 and 1"));
    return v;
  }
};

}  // namespace bobbin
