// Fuzz target: read_idx, plain and gzip.
#include <bobbin/data_files.h>

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return bobbin::fuzz::run(data, size,
                           [](const auto& path) { bobbin::read_idx(path, 0, {.max_unpacked = 1 << 20}); });
}
