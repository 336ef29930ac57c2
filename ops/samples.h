// Calls that many operations' samples share. Inputs are f64: the checks make the other dtypes from them.
#pragma once
#include <bobbin/op.h>
#include <bobbin/random.h>

#include <string>

namespace bobbin {

/// Uniform f64 on [low, high).
inline Tensor sample_input(const Shape& shape, double low = -2, double high = 2) {
  return uniform(shape, low, high, DType::f64);
}
/// Uniform of either sign, at least `gap` away from 0: for functions with a kink there.
Tensor sample_input_off_zero(const Shape& shape, double gap = 0.1, double high = 2);

/// f on [low, high], on a scalar, an empty tensor and the special values; and an i64 tensor refused, if so.
std::vector<Sample> unary_samples(std::string_view op, Tensor (*f)(const Tensor&), double low, double high,
                                  bool floating_only = true);
/// The same on values of either sign, away from 0.
std::vector<Sample> unary_samples_off_zero(std::string_view op, Tensor (*f)(const Tensor&),
                                           bool floating_only = true);
/// f on equal and broadcasting shapes; shapes and dtypes that do not fit refused.
std::vector<Sample> binary_samples(std::string_view op, Tensor (*f)(const Tensor&, const Tensor&),
                                   double low = -2, double high = 2);
/// The same for functions with a kink where the operands are equal: derivatives are compared well away from
/// it. At ties, of {1, 2, 3} and {1, 5, 3}, the first operand's must be `at_ties`.
std::vector<Sample> extreme_samples(std::string_view op, Tensor (*f)(const Tensor&, const Tensor&),
                                    const Tensor& at_ties);
/// Sample at kinks of its first input, with the derivative that is documented there.
inline Sample at_kinks(std::string note, std::vector<Tensor> inputs, std::function<Tensor(Inputs)> call,
                       Tensor derivative) {
  return {std::move(note), std::move(inputs), std::move(call), {}, false, std::move(derivative)};
}
/// Of f at 0, 1 and -1: a function of one number, with its derivatives there.
Sample kink_at_zero(Tensor (*f)(const Tensor&), double at_0, double at_1, double at_minus_1);
/// Sample whose rows are independent of each other.
inline Sample batch(Sample s) {
  s.batch = true;
  return s;
}
/// Sample of an invalid call.
inline Sample invalid(std::string note, std::vector<Tensor> inputs, std::function<Tensor(Inputs)> call,
                      std::string message) {
  return {std::move(note), std::move(inputs), std::move(call), std::move(message)};
}

}  // namespace bobbin
