// Activation functions: names, derivatives and samples.
#pragma once
#include <bobbin/elementwise.h>

#include "ops/elementwise/unary.h"
#include "ops/samples.h"

namespace bobbin {

/// The derivative of relu. Inputs: the gradient and the output; gives the gradient where the output is
/// positive or NaN, else 0.
struct ReluBackward : Binary<ReluBackward, fn::ReluBackward> {
  static constexpr std::string_view name = "relu_backward";
  static constexpr Saves saves = Saves::input(1);
  Grads vjp(const Vjp& v) const {
    Grads g(2);
    if (v.needs(0)) g[0] = record(ReluBackward{}, {v.grad, v.input(1)});
    if (v.needs(1)) g[1] = zeros(v.spec(1).shape, v.grad.dtype(), v.grad.device());
    return g;
  }
  static std::vector<Sample> samples() {
    const auto call = [](Inputs x) { return record(ReluBackward{}, x); };
    return {
        {"3x4", {sample_input({3, 4}), sample_input_off_zero({3, 4})}, call},
        {"at 0", {sample_input({2}), tensor({0, 0}, DType::f64)}, call, {}, false},
        {"empty", {sample_input({0, 4}), sample_input({0, 4})}, call},
        invalid("dtypes", {tensor({1}, DType::f64), tensor({1})}, call,
                "relu_backward: dtypes must agree; got f64[1] and f32[1]; convert one with to(x, DType)")};
  }
};

struct Relu : Unary<Relu, fn::Relu> {
  static constexpr std::string_view name = "relu";
  static constexpr Saves saves = Saves::output;
  Grads vjp(const Vjp& v) const { return {record(ReluBackward{}, {v.grad, v.output()})}; }
  static std::vector<Sample> samples() {
    auto v = unary_samples_off_zero(name, relu, false);
    v.push_back(kink_at_zero(relu, 0, 1, 0));
    return v;
  }
};

struct LeakyRelu : Unary<LeakyRelu, fn::LeakyRelu> {
  static constexpr std::string_view name = "leaky_relu";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const { return {where(v.input(0) <= 0, v.grad * f.slope, v.grad)}; }
  static std::vector<Sample> samples() {
    const auto f = [](const Tensor& x) { return leaky_relu(x, 0.2); };
    auto v = unary_samples_off_zero(name, f);
    v.push_back(kink_at_zero(f, 0.2, 1, 0.2));
    return v;
  }
};

struct Elu : Smooth<Elu, fn::Elu> {
  static constexpr std::string_view name = "elu";
  static fn::Elu example() { return {1.5}; }
  static Tensor second(fn::Elu f, const Tensor& h, const Tensor& g, const Tensor& x) {
    return where(x > 0, scalar(0, x), h * backward_of<Elu>(f, g, x));
  }
  static Tensor draw(const Shape& s) { return sample_input_off_zero(s); }
  static std::vector<Sample> samples() {
    const auto f = [](const Tensor& x) { return elu(x, 1.5); };
    auto v = unary_samples_off_zero(name, f);
    v.push_back(kink_at_zero(f, 1.5, 1, 1.5 * std::exp(-1)));
    return v;
  }
};

// With the logistic function s: s'' = -s' tanh(x / 2), and tanh is 1 where x is infinite.
struct Sigmoid : Smooth<Sigmoid, fn::Sigmoid> {
  static constexpr std::string_view name = "sigmoid";
  static Tensor second(fn::Sigmoid f, const Tensor& h, const Tensor& g, const Tensor& x) {
    return -((h * tanh(x * 0.5)) * backward_of<Sigmoid>(f, g, x));
  }
  static Tensor draw(const Shape& s) { return sample_input(s, -3, 3); }
  static std::vector<Sample> samples() { return unary_samples(name, sigmoid, -3, 3); }
};

struct Silu : Smooth<Silu, fn::Silu> {
  static constexpr std::string_view name = "silu";
  // s' (2 - x tanh(x / 2)); beyond the limit, s' is 0.
  static Tensor second(fn::Silu f, const Tensor& h, const Tensor& g, const Tensor& x) {
    const Tensor b = clamp(x, -f.limit, f.limit);
    return h * backward_of<Sigmoid>({}, g * (2 - b * tanh(b * 0.5)), x);
  }
  static Tensor draw(const Shape& s) { return sample_input(s, -3, 3); }
  static std::vector<Sample> samples() { return unary_samples(name, silu, -3, 3); }
};

struct Softplus : Smooth<Softplus, fn::Softplus> {
  static constexpr std::string_view name = "softplus";
  static Tensor second(fn::Softplus, const Tensor& h, const Tensor& g, const Tensor& x) {
    return h * backward_of<Sigmoid>({}, g, x);
  }
  static Tensor draw(const Shape& s) { return sample_input(s, -3, 3); }
  static std::vector<Sample> samples() { return unary_samples(name, softplus, -3, 3); }
};

struct GeluErf : Smooth<GeluErf, fn::GeluErf> {
  static constexpr std::string_view name = "gelu_erf";
  // phi(x) (2 - x^2), where phi(x) is a multiple of erf'(x / sqrt(2)); beyond 40 it is 0.
  static Tensor second(fn::GeluErf, const Tensor& h, const Tensor& g, const Tensor& x) {
    const Tensor bend = (2 - square(clamp(x, -40, 40))) * (std::numbers::sqrt2 / 4);
    return h * backward_of<Erf>({}, g * bend, x * (std::numbers::sqrt2 / 2));
  }
  static Tensor draw(const Shape& s) { return sample_input(s, -3, 3); }
  static std::vector<Sample> samples() {
    return unary_samples(
        name, [](const Tensor& x) { return gelu(x); }, -3, 3);
  }
};

struct GeluTanh : Smooth<GeluTanh, fn::GeluTanh> {
  static constexpr std::string_view name = "gelu_tanh";
  // Of x s(v): s' (2 v' + x v'' - x v'^2 tanh(v / 2)).
  static Tensor second(fn::GeluTanh f, const Tensor& h, const Tensor& g, const Tensor& x) {
    const Tensor b = clamp(x, -f.limit, f.limit), b2 = square(b), v = b * (b2 * f.cubic + f.linear),
                 slope = b2 * (3 * f.cubic) + f.linear;
    const Tensor bend = slope * 2 + b2 * (6 * f.cubic) - b * square(slope) * tanh(v * 0.5);
    // The bend is below 2^23: a power of two keeps its product with g in the range.
    const Tensor unit = where(gt(abs(g), scalar(1, g)), scalar(0x1p-24, g), scalar(1, g));
    return h * (backward_of<Sigmoid>({}, g * unit * bend, v) / unit);
  }
  static Tensor draw(const Shape& s) { return sample_input(s, -3, 3); }
  static std::vector<Sample> samples() {
    return unary_samples(
        name, [](const Tensor& x) { return gelu(x, Gelu::tanh); }, -3, 3);
  }
};

}  // namespace bobbin
