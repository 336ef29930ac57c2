// Strings and numbers as JSON text, for logs and traces.
#pragma once
#include <string>
#include <string_view>

namespace bobbin {

/// The text in UTF-8: U+FFFD takes the place of each byte that does not belong to a character (Unicode 15,
/// table 3-7).
std::string utf8(std::string_view);
/// The text in quotes, in UTF-8 and with JSON's escapes.
std::string json_string(std::string_view);
/// The shortest text that gives the same double: 1 is "1.0". NaN and infinities are null.
std::string json_number(double);

}  // namespace bobbin
