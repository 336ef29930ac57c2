// Division of integers that rounds up.
#pragma once
#include <cstdint>

namespace bobbin {

/// The number of parts, of `each` elements, that cover n elements.
constexpr std::int64_t ceil_div(std::int64_t n, std::int64_t each) { return (n + each - 1) / each; }

}  // namespace bobbin
