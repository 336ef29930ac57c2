// Reductions over a set of axes (default: all). With `keepdim`, reduced axes stay with size 1. Sums of
// floating dtypes accumulate in f64, in a fixed order. Negative axes count from the end. All throw ShapeError
// for an axis that x does not have, or that is named twice.
//
// Where several elements are the extreme, max and min send the gradient to the first one in row-major order
// of the reduced axes; amax and amin share it equally among them. A NaN beats every number: the result is
// then the positive quiet NaN, whatever sign and payload it has, and the gradient goes to the NaNs.
//
// Derivatives of 16-bit tensors are computed in f32 and rounded once, and no count is a 16-bit number.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin {

/// The sum. Integers and bool sum to i64.
Tensor sum(const Tensor&, const Axes& = {}, bool keepdim = false);
/// The mean, for floating dtypes; NaN if there are no elements.
Tensor mean(const Tensor&, const Axes& = {}, bool keepdim = false);
/// The variance: the sum of squared deviations from the mean, divided by count - correction.
Tensor var(const Tensor&, const Axes& = {}, double correction = 1, bool keepdim = false);
/// The standard deviation: the square root of var. Its derivative where it is 0 is 0.
Tensor std(const Tensor&, const Axes& = {}, double correction = 1, bool keepdim = false);
/// std() under a name that does not conflict with namespace std after `using namespace bobbin`.
inline Tensor std_dev(const Tensor& x, const Axes& axes = {}, double correction = 1, bool keepdim = false) {
  return bobbin::std(x, axes, correction, keepdim);
}
/// The largest element. Like min, amax and amin, throws ShapeError if there is no element to reduce.
Tensor max(const Tensor&, const Axes& = {}, bool keepdim = false);
/// The smallest element.
Tensor min(const Tensor&, const Axes& = {}, bool keepdim = false);
/// The largest element; equal elements share the gradient.
Tensor amax(const Tensor&, const Axes& = {}, bool keepdim = false);
/// The smallest element; equal elements share the gradient.
Tensor amin(const Tensor&, const Axes& = {}, bool keepdim = false);
/// The i64 index of the first maximum along an axis. No derivative.
Tensor argmax(const Tensor&, int axis, bool keepdim = false);
/// The i64 index of the first maximum in the flattened tensor.
Tensor argmax(const Tensor&);
/// The i64 index of the first minimum along an axis. No derivative.
Tensor argmin(const Tensor&, int axis, bool keepdim = false);
/// The i64 index of the first minimum in the flattened tensor.
Tensor argmin(const Tensor&);
/// log(sum(exp(x))), computed without overflow; -inf where all elements are -inf.
Tensor logsumexp(const Tensor&, const Axes& = {}, bool keepdim = false);
/// The p-norm: (sum |x|^p)^(1/p), p > 0 or infinity. No power on the way leaves the range of f64. Its
/// derivative at 0 is 0; that of second order of a function of it is right there if the function is even, as
/// norm(x)^2 is.
Tensor norm(const Tensor&, double p = 2, const Axes& = {}, bool keepdim = false);
/// Running sums along an axis; with `reverse`, from its end.
Tensor cumsum(const Tensor&, int axis, bool reverse = false);

/// The sum over all axes that are repeated when `shape` is broadcast to x's shape: the adjoint of
/// broadcasting.
Tensor sum_to(const Tensor& x, const Shape& shape);

}  // namespace bobbin
