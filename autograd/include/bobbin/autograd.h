// Gradients: backward() and grad().
#pragma once
#include <bobbin/tape.h>

#include <span>
#include <vector>

namespace bobbin {

/// Whether the tape can be used again afterwards. If not, saved tensors are freed as the pass goes, and a
/// pass that throws has used up a part of the tape: compute the loss again. The gradients are as they were in
/// both cases.
enum class Retain : bool {
  no,   ///< the pass releases the tape
  yes,  ///< the tape stays
};
/// Whether the gradients are themselves on the tape, so that they can be differentiated. Implies Retain::yes.
enum class CreateGraph : bool {
  no,   ///< gradients are not on the tape
  yes,  ///< gradients are on the tape
};

/// Adds the derivative of `loss`, which has one element, to .grad() of every leaf and of every tensor that
/// retains its gradient. If it throws, every .grad() is as before; with Retain::yes it can be called again.
/// Several threads may call it at once, on tapes of their own that share leaves. Throws GradError if loss
/// needs no gradient, if an earlier pass has released its tape, or if a derivative does not give one gradient
/// per input.
void backward(const Tensor& loss, Retain = Retain::no);
/// The same for the sum of y times `cotangent`, which has the spec of y.
void backward(const Tensor& y, const Tensor& cotangent, Retain = Retain::no);

/// The gradients of the sum of y times `cotangent` (1 by default, if y has one element) with respect to each
/// of xs; zeros for an x that y does not depend on. Changes no .grad(). Hooks of the nodes in between run.
/// Throws GradError as backward does, or if one of xs needs no gradient.
std::vector<Tensor> grad(const Tensor& y, std::span<const Tensor> xs, const Tensor& cotangent = {},
                         CreateGraph = CreateGraph::no, Retain = Retain::no);
/// The same for tensors in braces.
inline std::vector<Tensor> grad(const Tensor& y, std::initializer_list<Tensor> xs,
                                const Tensor& cotangent = {}, CreateGraph c = CreateGraph::no,
                                Retain r = Retain::no) {
  return grad(y, std::span(xs.begin(), xs.size()), cotangent, c, r);
}

}  // namespace bobbin
