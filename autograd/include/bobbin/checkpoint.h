// Gradient checkpointing (Chen et al., arXiv:1604.06174): memory for time.
#pragma once
#include <bobbin/autograd.h>
#include <bobbin/vjp.h>

#include <functional>

namespace bobbin {

/// f(inputs), without keeping the tensors that f computes inside: the backward pass runs f again, with the
/// same random numbers, and differentiates what that records. Gradients reach the inputs and any other tensor
/// f uses. f must compute the same both times.
Tensor checkpoint(std::function<Tensor(Inputs)> f, std::span<const Tensor> inputs);
/// The same of tensors in braces.
inline Tensor checkpoint(std::function<Tensor(Inputs)> f, std::initializer_list<Tensor> inputs) {
  return checkpoint(std::move(f), {inputs.begin(), inputs.size()});
}

}  // namespace bobbin
