// The softmax family. exp is taken of x - max, so nothing overflows; -inf entries are exact zeros; a slice of
// all -inf, or with +inf or NaN, is NaN; empty slices give an empty result. Floating dtypes.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin {

/// O = exp(x - max) / sum(exp(x - max)) along an axis. The tape keeps O alone; backward is softmax_backward.
Tensor softmax(const Tensor& x, int axis = -1);
/// The product of softmax's Jacobian with dO, which is never formed: dX = O * (dO - sum(O * dO)).
Tensor softmax_backward(const Tensor& output, const Tensor& grad, int axis = -1);

/// softmax along the last axis of x [..., s] over what a bool mask, which broadcasts to x, leaves; what it hides
/// has probability 0, and NaN where it hides a whole row. `causal`: row i of x [..., l, s] sees columns up to i
/// alone. The mask is looked at as x is read; nothing of it is kept. Throws ShapeError, DTypeError.
Tensor masked_softmax(const Tensor& x, const Tensor& mask, bool causal = false);

/// x - logsumexp(x) along an axis. The largest entry is left out of the sum and log1p makes up for it, so
/// that results near 0 keep their digits: for [17.5, 0] the first is -2.511e-8.
Tensor log_softmax(const Tensor& x, int axis = -1);
/// dX = dO - exp(O) * sum(dO).
Tensor log_softmax_backward(const Tensor& output, const Tensor& grad, int axis = -1);

}  // namespace bobbin
