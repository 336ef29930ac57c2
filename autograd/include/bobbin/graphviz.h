// The tape as a picture, and as text.
#pragma once
#include <bobbin/tensor.h>

#include <string>

namespace bobbin {

/// The tape below `y` in Graphviz's DOT language: operations with the spec of their output and the bytes they
/// save, leaves as boxes. Render it with `dot -Tpng`.
std::string to_dot(const Tensor& y);
/// The same in lines, newest first, each with its inputs' numbers; and in all, how many operations hold how
/// many bytes for their derivatives.
std::string tape_summary(const Tensor& y);

}  // namespace bobbin
