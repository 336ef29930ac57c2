// Smooth functions of one number: their first derivative is one kernel, the operation Backward<Op>, whose own
// derivative is composed of public operations.
#pragma once
#include <bobbin/elementwise.h>

#include <array>
#include <limits>

#include "ops/elementwise/map.h"
#include "ops/samples.h"
#include "ops/wide.h"

namespace bobbin {

/// The derivative of the function Op. Inputs: a gradient g and x; gives g f'(x). Op::second gives h g f''(x).
template<class Op>
struct Backward : Binary<Backward<Op>, fn::Derivative<typename Op::Function>> {
 private:
  static constexpr std::string_view suffix = "_backward";
  static constexpr auto text = [] {
    std::array<char, Op::name.size() + suffix.size()> all{};
    auto* end = all.data();
    for (const auto part : {Op::name, suffix})
      for (const char c : part) *end++ = c;
    return all;
  }();

 public:
  static constexpr std::string_view name{text.data(), text.size()};
  static constexpr Saves saves = Saves::inputs;
  Grads vjp(const Vjp& v) const {
    Grads out(2);
    const DType dtype = v.grad.dtype();
    if (v.needs(0)) out[0] = record(*this, {v.grad, v.input(1)});
    if (v.needs(1)) out[1] = to(Op::second(this->f, wide(v.grad), wide(v.input(0)), wide(v.input(1))), dtype);
    return out;
  }
  static std::vector<Sample> samples() {
    constexpr double inf = std::numeric_limits<double>::infinity(),
                     nan = std::numeric_limits<double>::quiet_NaN();
    const auto call = [](Inputs x) { return record(Backward{{{Op::example()}}}, x); };
    return {
        {"3x4", {sample_input({3, 4}), Op::draw({3, 4})}, call},
        {"scalar", {sample_input({}), Op::draw({})}, call},
        {"empty", {sample_input({0, 4}), Op::draw({0, 4})}, call},
        {"special values",
         {ones({9}, DType::f64), tensor({0.0, -0.0, inf, -inf, nan, 1e-30, -1e-30, 1e30, -1e30}, DType::f64)},
         call,
         {},
         false},
        invalid(
            "dtypes", {tensor({1}, DType::f64), tensor({1})}, call,
            std::string(name) + ": dtypes must agree; got f64[1] and f32[1]; convert one with to(x, DType)")};
  }
};

/// g f'(x), recorded.
template<class Op>
Tensor backward_of(const typename Op::Function& f, const Tensor& g, const Tensor& x) {
  return record(Backward<Op>{{{f}}}, {g, x});
}

/// The operation y = f(x) of a smooth f. Self has besides name and samples:
///   static Tensor second(const F&, h, g, x)   h g f''(x), of public operations; f32 for 16-bit types
///   static Tensor draw(const Shape&)          typical x for samples
template<class Self, class F>
struct Smooth : Unary<Self, F> {
  static constexpr Saves saves = Saves::inputs;
  static F example() { return F{}; }
  Grads vjp(const Vjp& v) const { return {backward_of<Self>(this->f, v.grad, v.input(0))}; }
};

}  // namespace bobbin
