// Tensors by name, such as those of a model or an optimizer, and their loading: all of them or none.
#pragma once
#include <bobbin/tensor.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace bobbin {

/// Tensors by name. They are handles, which share their elements with the model or optimizer.
using StateDict = std::map<std::string, Tensor>;

/// Throws FormatError if the names, shapes or dtypes of `own` and `from` differ. The message begins with
/// `what` and lists all differences. `unreadable` has the names that a file has and Bobbin does not hold,
/// each with its reason, which the message gives in place of "missing".
void check_state(std::string_view what, const StateDict& own, const StateDict& from,
                 const std::map<std::string, std::string>& unreadable = {});
/// Copies the elements of `from` into the tensors of `own`, on any devices. Throws as check_state does, and
/// ShapeError for an expanded tensor in `own`. If it throws, it has changed nothing.
void load_state(std::string_view what, const StateDict& own, const StateDict& from,
                const std::map<std::string, std::string>& unreadable = {});

namespace detail {
/// The two halves of load_state: the checks and conversions, which throw, and the function that they return,
/// which copies and does not throw.
std::function<void()> loading(std::string_view what, const StateDict& own, const StateDict& from,
                              const std::map<std::string, std::string>& unreadable = {});
}  // namespace detail

}  // namespace bobbin
