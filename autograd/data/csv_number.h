// Numbers of a table, as elements of a dtype.
#pragma once
#include <bobbin/dtype.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace bobbin {

/// What is wrong with a field: a text for a message, or nothing. `out` gets the element's bytes. An empty
/// field is NaN. Integers must be exact; a number beyond a floating dtype's range is an error and not an
/// infinity.
std::optional<std::string> csv_number(std::string_view field, DType, void* out);

}  // namespace bobbin
