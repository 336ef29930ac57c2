// The tape as a picture, and as text.
#pragma once
#include <bobbin/tensor.h>

#include <string>

namespace bobbin {

/// The tape below `y` in Graphviz's DOT language: operations with the spec of their output and the bytes they
/// save, leaves as boxes. Render it with `dot -Tpng`.
std::string to_dot(const Tensor& y);
/// The same as lines of text, newest first, each with the numbers of its inputs; and the total number of
/// operations, and of bytes that they keep for their derivatives.
std::string tape_summary(const Tensor& y);

}  // namespace bobbin
