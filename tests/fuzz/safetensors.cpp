// Fuzz target: load_safetensors and map_safetensors, which must agree.
#include <bobbin/safetensors.h>

#include <cstdlib>

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return bobbin::fuzz::run(data, size, [](const auto& path) {
    const auto loaded = bobbin::load_safetensors(path, {.convert = true});
    const auto mapped = bobbin::map_safetensors(path, {.convert = true});
    if (loaded.tensors.size() != mapped.tensors.size() || loaded.metadata != mapped.metadata) std::abort();
    for (auto& [name, t] : loaded.tensors)
      if (t.spec() != mapped.at(name).spec()) std::abort();
  });
}
