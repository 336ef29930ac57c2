// How many parts of so many elements cover n.
#pragma once
#include <cstdint>

namespace bobbin {

constexpr std::int64_t ceil_div(std::int64_t n, std::int64_t each) { return (n + each - 1) / each; }

}  // namespace bobbin
