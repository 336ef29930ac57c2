// The tape as a picture.
#pragma once
#include <bobbin/tensor.h>

#include <string>

namespace bobbin {

/// The tape below `y` in Graphviz's DOT language: operations with the spec of their output and the bytes they
/// save, leaves as boxes. Render it with `dot -Tpng`.
std::string to_dot(const Tensor& y);

}  // namespace bobbin
