// Fuzz target: MetricsLog, which continues the table of an earlier run.
#include <bobbin/metrics.h>
#include <fcntl.h>

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string path = [] {
    const char* directory = std::getenv("TMPDIR");
    return std::string(directory ? directory : "/tmp") + "/bobbin-fuzz-" + std::to_string(::getpid()) +
           ".csv";
  }();
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const bool written = file >= 0 && ::write(file, data, size) == static_cast<ssize_t>(size);
  ::close(file);
  if (!written) return -1;
  try {
    bobbin::MetricsLog(path, bobbin::MetricsLog::Mode::append).add(1, {{"loss", 1}, {"a,b", 2}});
  } catch (const bobbin::Error&) {
  }
  ::unlink(path.c_str());
  return 0;
}
