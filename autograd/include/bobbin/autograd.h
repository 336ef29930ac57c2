// Gradients: backward() and grad().
#pragma once
#include <bobbin/tape.h>

#include <span>
#include <vector>

namespace bobbin {

/// Whether the tape can be used again afterwards. If not, saved tensors are freed during the pass.
enum class Retain : bool {
  no,   ///< the pass uses the tape up
  yes,  ///< the tape stays
};
/// Whether the gradients are themselves on the tape, so that they can be differentiated. Implies Retain::yes.
enum class CreateGraph : bool {
  no,   ///< gradients are plain numbers
  yes,  ///< gradients are on the tape
};

/// Adds to .grad() of every leaf, and of every tensor that retains its gradient, the derivative of `loss`.
/// `loss` has one element, or `cotangent` of its spec says what it is multiplied with. When an operation's
/// derivative throws, no .grad() has changed. Throws GradError if loss needs no gradient or its tape was used
/// up.
void backward(const Tensor& loss, Retain = Retain::no);
/// The same of y, weighted with `cotangent`, of the spec of y.
void backward(const Tensor& y, const Tensor& cotangent, Retain = Retain::no);

/// The gradients of y, weighted with `cotangent` (ones for a single element), for each of xs; zeros for one
/// that y does not depend on. Changes no .grad(); hooks of the nodes between run. Throws GradError as
/// backward does, or if one of xs needs no gradient.
std::vector<Tensor> grad(const Tensor& y, std::span<const Tensor> xs, const Tensor& cotangent = {},
                         CreateGraph = CreateGraph::no, Retain = Retain::no);
/// The same of tensors in braces.
inline std::vector<Tensor> grad(const Tensor& y, std::initializer_list<Tensor> xs,
                                const Tensor& cotangent = {}, CreateGraph c = CreateGraph::no,
                                Retain r = Retain::no) {
  return grad(y, std::span(xs.begin(), xs.size()), cotangent, c, r);
}

}  // namespace bobbin
