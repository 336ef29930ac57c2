// What the samples of many operations share: inputs, and calls that are checked for any function of one or
// two numbers. Inputs are f64; the checks convert them to the other dtypes.
#pragma once
#include <bobbin/op.h>
#include <bobbin/random.h>

#include <string>

namespace bobbin {

/// Uniform f64 on [low, high).
inline Tensor sample_input(const Shape& shape, double low = -2, double high = 2) {
  return uniform(shape, low, high, DType::f64);
}
/// Uniform, of either sign, at least `gap` away from 0: for functions with a kink at 0.
Tensor sample_input_off_zero(const Shape& shape, double gap = 0.1, double high = 2);

/// Calls of f with values from [low, high], a scalar, an empty tensor and special values; and an invalid
/// call, with an i64 tensor if `floating_only`, else a bool one.
std::vector<Sample> unary_samples(std::string_view op, Tensor (*f)(const Tensor&), double low, double high,
                                  bool floating_only = true);
/// The same with values of either sign, away from 0.
std::vector<Sample> unary_samples_off_zero(std::string_view op, Tensor (*f)(const Tensor&),
                                           bool floating_only = true);
/// Calls of f with equal and with broadcasting shapes; and invalid calls, with shapes that do not broadcast
/// and dtypes that differ.
std::vector<Sample> binary_samples(std::string_view op, Tensor (*f)(const Tensor&, const Tensor&),
                                   double low = -2, double high = 2);
/// Calls of a function of a gradient and two numbers, with equal and with broadcasting shapes; and an invalid
/// call.
std::vector<Sample> ternary_samples(std::string_view op, Tensor (*f)(Inputs), double low, double high);
/// The same for functions with a kink where the operands are equal: derivatives are compared away from it.
/// For the operands {1, 2, 3} and {1, 5, 3}, the derivative of the first must be `at_ties`.
std::vector<Sample> extreme_samples(std::string_view op, Tensor (*f)(const Tensor&, const Tensor&),
                                    const Tensor& at_ties);
/// A sample at kinks of its first input, with the derivative that is documented there.
inline Sample at_kinks(std::string note, std::vector<Tensor> inputs, std::function<Tensor(Inputs)> call,
                       Tensor derivative) {
  return {std::move(note), std::move(inputs), std::move(call), {}, false, std::move(derivative)};
}
/// A function of one number at 0, 1 and -1, with its derivatives there.
Sample kink_at_zero(Tensor (*f)(const Tensor&), double at_0, double at_1, double at_minus_1);
/// A sample whose rows are computed independently of each other.
inline Sample batch(Sample s) {
  s.batch = true;
  return s;
}
/// A sample of an invalid call.
inline Sample invalid(std::string note, std::vector<Tensor> inputs, std::function<Tensor(Inputs)> call,
                      std::string message) {
  return {std::move(note), std::move(inputs), std::move(call), std::move(message)};
}

}  // namespace bobbin
