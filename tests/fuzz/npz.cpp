// Fuzz target: load_npz, with a limit that leaves time for many inputs.
#include <bobbin/saving.h>

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return bobbin::fuzz::run(data, size, [](const auto& path) {
    bobbin::load_npz(path, {.convert = true, .max_unpacked = 1 << 20});
  });
}
