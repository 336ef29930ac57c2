// Gradient checkpointing (Chen et al., arXiv:1604.06174): less memory for more time.
#pragma once
#include <bobbin/autograd.h>
#include <bobbin/vjp.h>

#include <functional>

namespace bobbin {

/// Returns f(inputs), and keeps only the inputs, not the tensors that f computes. The backward pass runs f
/// again, with the same random numbers, and differentiates the tape of that call. Gradients flow to the
/// inputs and to any other tensor that f uses. Both calls of f must compute the same; batch_norm updates its
/// running statistics in the first one alone.
Tensor checkpoint(std::function<Tensor(Inputs)> f, std::span<const Tensor> inputs);
/// The same for tensors in braces.
inline Tensor checkpoint(std::function<Tensor(Inputs)> f, std::initializer_list<Tensor> inputs) {
  return checkpoint(std::move(f), {inputs.begin(), inputs.size()});
}

}  // namespace bobbin
