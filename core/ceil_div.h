// Division of integers that rounds up.
#pragma once
#include <cstdint>

namespace bobbin {

/// n / each, rounded up, for each > 0: the number of parts, of `each` elements, that cover n elements. Does
/// not overflow.
constexpr std::int64_t ceil_div(std::int64_t n, std::int64_t each) { return n / each + (n % each > 0); }

}  // namespace bobbin
