// Fuzz target: decode_jpeg, and scaling of what it gives.
#include "tests/fuzz/picture.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return bobbin::fuzz::picture(bobbin::decode_jpeg, data, size);
}
