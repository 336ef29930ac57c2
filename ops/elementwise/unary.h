// Functions of one number: names, derivatives and samples.
#pragma once
#include <bobbin/elementwise.h>

#include "ops/elementwise/smooth.h"
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

struct Square : Smooth<Square, fn::Square> {
  static constexpr std::string_view name = "square";
  static Tensor second(fn::Square, const Tensor& h, const Tensor& g, const Tensor&) { return h * g * 2; }
  static Tensor draw(const Shape& s) { return sample_input(s); }
  static std::vector<Sample> samples() { return unary_samples(name, square, -2, 2, false); }
};

struct Exp : Unary<Exp, fn::Exp> {
  static constexpr std::string_view name = "exp";
  static constexpr Saves saves = Saves::output;
  Grads vjp(const Vjp& v) const { return {v.grad * v.output()}; }
  static std::vector<Sample> samples() { return unary_samples(name, exp, -2, 2); }
};

struct Expm1 : Smooth<Expm1, fn::Expm1> {
  static constexpr std::string_view name = "expm1";
  static Tensor second(fn::Expm1 f, const Tensor& h, const Tensor& g, const Tensor& x) {
    return h * backward_of<Expm1>(f, g, x);
  }
  static Tensor draw(const Shape& s) { return sample_input(s); }
  static std::vector<Sample> samples() { return unary_samples(name, expm1, -2, 2); }
};

struct Log : Unary<Log, fn::Log> {
  static constexpr std::string_view name = "log";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const { return {v.grad / v.input(0)}; }
  static std::vector<Sample> samples() { return unary_samples(name, log, 0.2, 3); }
};

struct Log1p : Smooth<Log1p, fn::Log1p> {
  static constexpr std::string_view name = "log1p";
  static Tensor second(fn::Log1p, const Tensor& h, const Tensor& g, const Tensor& x) {
    const Tensor next = x + 1;
    return -((h / next) * (g / next));
  }
  static Tensor draw(const Shape& s) { return sample_input(s, -0.7, 3); }
  static std::vector<Sample> samples() { return unary_samples(name, log1p, -0.7, 3); }
};

struct Sqrt : Smooth<Sqrt, fn::Sqrt> {
  static constexpr std::string_view name = "sqrt";
  static Tensor second(fn::Sqrt f, const Tensor& h, const Tensor& g, const Tensor& x) {
    // h times the slope by x: the quotient that is formed first has both terms on one side of 1, or else a
    // result that leaves the range with it.
    const Tensor slope = backward_of<Sqrt>(f, g, x), one = scalar(1, x),
                 alike = eq(lt(abs(h), one), lt(abs(x), one));
    return where(alike, h, slope) / x * (where(alike, slope, h) * -0.5);
  }
  static Tensor draw(const Shape& s) { return sample_input(s, 0.2, 3); }
  static std::vector<Sample> samples() { return unary_samples(name, sqrt, 0.2, 3); }
};

struct Rsqrt : Smooth<Rsqrt, fn::Rsqrt> {
  static constexpr std::string_view name = "rsqrt";
  static Tensor second(fn::Rsqrt f, const Tensor& h, const Tensor& g, const Tensor& x) {
    return (h / x) * backward_of<Rsqrt>(f, g, x) * -1.5;
  }
  static Tensor draw(const Shape& s) { return sample_input(s, 0.2, 3); }
  static std::vector<Sample> samples() { return unary_samples(name, rsqrt, 0.2, 3); }
};

struct Reciprocal : Smooth<Reciprocal, fn::Reciprocal> {
  static constexpr std::string_view name = "reciprocal";
  static Tensor second(fn::Reciprocal f, const Tensor& h, const Tensor& g, const Tensor& x) {
    return (h / x) * backward_of<Reciprocal>(f, g, x) * -2;
  }
  static Tensor draw(const Shape& s) { return sample_input_off_zero(s, 0.5); }
  static std::vector<Sample> samples() { return unary_samples_off_zero(name, reciprocal); }
};

struct Sin : Smooth<Sin, fn::Sin> {
  static constexpr std::string_view name = "sin";
  static Tensor second(fn::Sin, const Tensor& h, const Tensor& g, const Tensor& x) {
    return -((h * sin(x)) * g);
  }
  static Tensor draw(const Shape& s) { return sample_input(s, -3, 3); }
  static std::vector<Sample> samples() { return unary_samples(name, sin, -3, 3); }
};

struct Cos : Smooth<Cos, fn::Cos> {
  static constexpr std::string_view name = "cos";
  static Tensor second(fn::Cos, const Tensor& h, const Tensor& g, const Tensor& x) {
    return -((h * cos(x)) * g);
  }
  static Tensor draw(const Shape& s) { return sample_input(s, -3, 3); }
  static std::vector<Sample> samples() { return unary_samples(name, cos, -3, 3); }
};

struct Tanh : Smooth<Tanh, fn::Tanh> {
  static constexpr std::string_view name = "tanh";
  static Tensor second(fn::Tanh f, const Tensor& h, const Tensor& g, const Tensor& x) {
    return (h * (tanh(x) * -2)) * backward_of<Tanh>(f, g, x);
  }
  static Tensor draw(const Shape& s) { return sample_input(s); }
  static std::vector<Sample> samples() { return unary_samples(name, tanh, -2, 2); }
};

struct Erf : Smooth<Erf, fn::Erf> {
  static constexpr std::string_view name = "erf";
  // Beyond 40 the derivative is 0, and would be 0 times infinity.
  static Tensor second(fn::Erf f, const Tensor& h, const Tensor& g, const Tensor& x) {
    return (h * (clamp(x, -40, 40) * -2)) * backward_of<Erf>(f, g, x);
  }
  static Tensor draw(const Shape& s) { return sample_input(s); }
  static std::vector<Sample> samples() { return unary_samples(name, erf, -2, 2); }
};

/// x to a constant power, which is an attribute.
struct PowScalar : Smooth<PowScalar, fn::PowScalar> {
  static constexpr std::string_view name = "pow_scalar";
  static fn::PowScalar example() { return {2.5}; }
  static Tensor second(fn::PowScalar f, const Tensor& h, const Tensor& g, const Tensor& x) {
    if (f.exponent == 0) return zeros_like(x);
    return backward_of<PowScalar>({f.exponent - 1}, h * g, x) * f.exponent;
  }
  static Tensor draw(const Shape& s) { return sample_input(s, 0.2, 2); }
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
    const Tensor &x = v.input(0), none = scalar(0, v.grad);
    return {where(x < f.low, none, where(x > f.high, none, v.grad))};
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
