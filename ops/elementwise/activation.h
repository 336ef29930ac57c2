// Activation functions: names, derivatives and samples.
#pragma once
#include <bobbin/elementwise.h>

#include "ops/elementwise/map.h"
#include "ops/elementwise/unary.h"
#include "ops/samples.h"

namespace bobbin {

/// The derivative of relu. Inputs: the gradient and the output; gives the gradient where the output is
/// positive, else 0.
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
  Grads vjp(const Vjp& v) const { return {where(v.input(0) > 0, v.grad, v.grad * f.slope)}; }
  static std::vector<Sample> samples() {
    const auto f = [](const Tensor& x) { return leaky_relu(x, 0.2); };
    auto v = unary_samples_off_zero(name, f);
    v.push_back(kink_at_zero(f, 0.2, 1, 0.2));
    return v;
  }
};

struct Elu : Unary<Elu, fn::Elu> {
  static constexpr std::string_view name = "elu";
  static constexpr Saves saves = Saves::inputs | Saves::output;
  Grads vjp(const Vjp& v) const {
    return {v.grad * where(v.input(0) > 0, ones_like(v.grad), v.output() + f.alpha)};
  }
  static std::vector<Sample> samples() {
    const auto f = [](const Tensor& x) { return elu(x, 1.5); };
    auto v = unary_samples_off_zero(name, f);
    v.push_back(kink_at_zero(f, 1.5, 1, 1.5 * std::exp(-1)));
    return v;
  }
};

struct Sigmoid : Unary<Sigmoid, fn::Sigmoid> {
  static constexpr std::string_view name = "sigmoid";
  static constexpr Saves saves = Saves::output;
  static Tensor slope(const Tensor& y) { return y * (1 - y); }
  Grads vjp(const Vjp& v) const { return {v.grad * slope(v.output())}; }
  static std::vector<Sample> samples() { return unary_samples(name, sigmoid, -3, 3); }
};

struct Silu : Unary<Silu, fn::Silu> {
  static constexpr std::string_view name = "silu";
  static constexpr Saves saves = Saves::inputs;
  static Tensor slope(const Tensor& x) {
    const Tensor s = sigmoid(x);
    return s * (1 + x * (1 - s));
  }
  Grads vjp(const Vjp& v) const { return {v.grad * slope(v.input(0))}; }
  static std::vector<Sample> samples() { return unary_samples(name, silu, -3, 3); }
};

struct Softplus : Unary<Softplus, fn::Softplus> {
  static constexpr std::string_view name = "softplus";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const { return {v.grad * sigmoid(v.input(0))}; }
  static std::vector<Sample> samples() { return unary_samples(name, softplus, -3, 3); }
};

struct GeluErf : Unary<GeluErf, fn::GeluErf> {
  static constexpr std::string_view name = "gelu_erf";
  static constexpr Saves saves = Saves::inputs;
  // Phi(x) + x phi(x)
  static Tensor slope(const Tensor& x) {
    const Tensor below = (erf(x * (std::numbers::sqrt2 / 2)) + 1) * 0.5;
    const Tensor density = exp(square(x) * -0.5) * (std::numbers::inv_sqrtpi / std::numbers::sqrt2);
    return below + x * density;
  }
  Grads vjp(const Vjp& v) const { return {v.grad * slope(v.input(0))}; }
  static std::vector<Sample> samples() {
    return unary_samples(
        name, [](const Tensor& x) { return gelu(x); }, -3, 3);
  }
};

struct GeluTanh : Unary<GeluTanh, fn::GeluTanh> {
  static constexpr std::string_view name = "gelu_tanh";
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    constexpr double k = std::numbers::sqrt2 * std::numbers::inv_sqrtpi, c = 0.044715;
    const Tensor &x = v.input(0), x2 = square(x), t = tanh(x * (x2 * c + 1) * k);
    const Tensor inner = (x2 * (3 * c) + 1) * k;
    return {v.grad * ((t + 1) * 0.5 + x * (1 - square(t)) * inner * 0.5)};
  }
  static std::vector<Sample> samples() {
    return unary_samples(
        name, [](const Tensor& x) { return gelu(x, Gelu::tanh); }, -3, 3);
  }
};

}  // namespace bobbin
