// Reductions over a set of axes (default: all). `keepdim` leaves reduced axes with size 1. f32 and 16-bit
// sums accumulate in f64 on the CPU, in a fixed order. Axes count from the end when negative; all throw
// ShapeError.
//
// Ties: max and min send the whole gradient to the first extreme element in row-major order of the reduced
// axes; amax and amin share it equally among all of them. A NaN is larger and smaller than everything.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin {

/// Integers and bool sum to i64.
Tensor sum(const Tensor&, const Axes& = {}, bool keepdim = false);
/// The sum by the count, for floating dtypes; NaN of nothing.
Tensor mean(const Tensor&, const Axes& = {}, bool keepdim = false);
/// Variance, divided by the count less `correction`.
Tensor var(const Tensor&, const Axes& = {}, double correction = 1, bool keepdim = false);
/// The square root of var; its derivative at 0 is NaN, as the function has none there.
Tensor std(const Tensor&, const Axes& = {}, double correction = 1, bool keepdim = false);
/// The largest element. Throws ShapeError where no element is reduced, as the other three do.
Tensor max(const Tensor&, const Axes& = {}, bool keepdim = false);
/// The smallest element.
Tensor min(const Tensor&, const Axes& = {}, bool keepdim = false);
/// The largest element; equal ones share the gradient.
Tensor amax(const Tensor&, const Axes& = {}, bool keepdim = false);
/// The smallest element; equal ones share the gradient.
Tensor amin(const Tensor&, const Axes& = {}, bool keepdim = false);
/// The i64 index of the first maximum along an axis. No derivative.
Tensor argmax(const Tensor&, int axis, bool keepdim = false);
/// The i64 index of the first maximum in the flattened tensor.
Tensor argmax(const Tensor&);
/// The i64 index of the first minimum along an axis. No derivative.
Tensor argmin(const Tensor&, int axis, bool keepdim = false);
/// The i64 index of the first minimum in the flattened tensor.
Tensor argmin(const Tensor&);
/// log(sum(exp(x))), computed without overflow; -inf where all are -inf.
Tensor logsumexp(const Tensor&, const Axes& = {}, bool keepdim = false);
/// The p-norm: (sum |x|^p)^(1/p), p > 0 or infinity. Its derivative at 0 is 0.
Tensor norm(const Tensor&, double p = 2, const Axes& = {}, bool keepdim = false);
/// Running sums along an axis; from its end when `reverse`.
Tensor cumsum(const Tensor&, int axis, bool reverse = false);

/// The sum over all axes that broadcasting `shape` to x's shape repeats: broadcasting's transpose.
Tensor sum_to(const Tensor& x, const Shape& shape);

}  // namespace bobbin
