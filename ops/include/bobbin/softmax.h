// Softmax and log-softmax along one axis of a floating-point tensor. exp is applied to x - max, so nothing
// overflows. An entry of -inf gives exactly 0 (softmax) or -inf (log_softmax). A slice of all -inf, or with
// +inf or NaN, is NaN. Empty slices give an empty result.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin {

/// O = exp(x - max) / sum(exp(x - max)) along an axis. The tape keeps only O; the derivative is
/// softmax_backward.
Tensor softmax(const Tensor& x, int axis = -1);
/// For a softmax O, its Jacobian times dO: dX = O * (dO - sum(O * dO)); small results keep their digits.
Tensor softmax_backward(const Tensor& output, const Tensor& grad, int axis = -1);

/// Softmax along the last axis of x [..., s] over the elements where a bool mask is true. The mask broadcasts
/// to x. Masked elements have probability 0; a row with no other elements is NaN. With `causal`, row i of x
/// [..., l, s] also masks columns above i. Kernels read the mask together with x, and the tape does not keep
/// it. Throws ShapeError, DTypeError.
Tensor masked_softmax(const Tensor& x, const Tensor& mask, bool causal = false);

/// x - logsumexp(x) along an axis. logsumexp is max + log1p(the sum over the other entries), so that results
/// near 0 keep their digits: for [17.5, 0] the first is -2.511e-8.
Tensor log_softmax(const Tensor& x, int axis = -1);
/// dX = dO - exp(O) * sum(dO), with the digits of 1 - exp(O) where O is near 0.
Tensor log_softmax_backward(const Tensor& output, const Tensor& grad, int axis = -1);

}  // namespace bobbin
