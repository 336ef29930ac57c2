// Gradients of functions for given cotangents, and the elements of tensors as flat numbers.
#pragma once
#include <bobbin/autograd.h>
#include <bobbin/op.h>

#include <array>
#include <functional>
#include <vector>

namespace bobbin::gradcheck_detail {

using Function = std::function<std::vector<Tensor>(Inputs)>;
using Flat = std::vector<double>;  ///< the elements of one or several tensors, row-major, concatenated

/// Whether derivatives are taken with respect to t.
inline bool varied(const Tensor& t) { return t && is_floating(t.dtype()); }
/// New contiguous leaves with the elements of x; integer tensors are shared.
std::vector<Tensor> leaves(Inputs x);
/// The floating tensors of x.
std::vector<Tensor> floating(Inputs x);

Flat flat(std::span<const Tensor>);
/// Tensors like ys that hold v.
std::vector<Tensor> shaped(const Flat& v, std::span<const Tensor> ys);

/// Random numbers of either sign and magnitude 0.5 to 1.5, from the default generator, in the shape of y.
Tensor random_cotangent(const Tensor& y);
std::vector<Tensor> random_cotangents(std::span<const Tensor> ys);
inline constexpr std::array cotangent_names{"random 1", "random 2", "random 3", "one-hot"};
/// Three random cotangents and a one-hot one.
std::vector<Flat> cotangents(std::span<const Tensor> ys);

/// The gradients of sum_k <y_k, v_k>; zeros for an input that it does not depend on. Adds no operation to the
/// tape, because a mistake in the derivative of mul or sum could then cancel itself.
std::vector<Tensor> weighted_gradients(std::span<const Tensor> ys, std::span<const Tensor> vs, Inputs xs,
                                       CreateGraph create);
/// The gradients of f as a function of its inputs, followed by a cotangent for each of its outputs.
Function derivative(Function f, std::size_t inputs);

}  // namespace bobbin::gradcheck_detail
