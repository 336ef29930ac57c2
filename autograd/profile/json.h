// Strings and numbers as JSON text, for logs and traces.
#pragma once
#include <string>
#include <string_view>

namespace bobbin {

/// The text in quotes, with JSON's escapes. U+FFFD replaces each byte that is not UTF-8.
std::string json_string(std::string_view);
/// The shortest text that gives the same double: 1 is "1.0". NaN and infinities are null.
std::string json_number(double);

}  // namespace bobbin
