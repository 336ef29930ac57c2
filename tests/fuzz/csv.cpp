// Fuzz target: read_csv, into a dtype and with options that the last byte chooses.
#include <bobbin/data_files.h>

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return -1;
  const std::uint8_t last = data[size - 1];
  bobbin::CsvOptions options;
  options.header = last % 2 == 0;
  options.dtype = static_cast<bobbin::DType>(last / 2 % 8);
  return bobbin::fuzz::run(data, size, [&](const auto& path) { bobbin::read_csv(path, options); });
}
