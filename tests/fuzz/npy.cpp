// Fuzz target: load_npy.
#include <bobbin/saving.h>

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return bobbin::fuzz::run(data, size,
                           [&](const auto& path) { bobbin::load_npy(path, {.convert = size % 2 == 0}); });
}
