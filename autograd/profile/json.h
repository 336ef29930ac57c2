// JSON as text, for what a run logs.
#pragma once
#include <string>
#include <string_view>

namespace bobbin {

/// The text in quotes, with what JSON escapes.
std::string json_string(std::string_view);
/// The shortest text that reads as the same double: 1 is "1.0". What JSON has no number for is null.
std::string json_number(double);

}  // namespace bobbin
