// Tensors by name, such as those of a model or an optimizer, and their loading: all of them or none.
#pragma once
#include <bobbin/tensor.h>

#include <map>
#include <string>
#include <string_view>

namespace bobbin {

/// Tensors by name; handles, so that what they share is the model's.
using StateDict = std::map<std::string, Tensor>;

/// Throws FormatError that begins with `what` and lists all tensors of `own` that `from` lacks or has in
/// another shape or dtype, and all that only `from` has.
void check_state(std::string_view what, const StateDict& own, const StateDict& from);
/// Copies the elements of `from` into the tensors of `own`, wherever they are. Throws what check_state
/// throws; nothing has changed then.
void load_state(std::string_view what, const StateDict& own, const StateDict& from);

}  // namespace bobbin
