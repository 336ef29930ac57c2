// Stopwatch, with CUDA events.
#include "core/cuda/stopwatch.h"

#include "core/cuda/runtime.h"

namespace bobbin::cuda {
namespace {

cudaEvent_t event_of(void* p) { return static_cast<cudaEvent_t>(p); }

void record(Device d, void* event) {
  const DeviceGuard use(d);
  check(cudaEventRecord(event_of(event), stream(d)), "stopwatch");
}

}  // namespace

Stopwatch::Stopwatch(Device d) : device_(d) {
  const DeviceGuard use(d);
  cudaEvent_t from, to;
  check(cudaEventCreate(&from), "stopwatch");
  from_ = from;
  check(cudaEventCreate(&to), "stopwatch");
  to_ = to;
  record(d, from_);
}

Stopwatch::~Stopwatch() { cudaEventDestroy(event_of(from_)), cudaEventDestroy(event_of(to_)); }

void Stopwatch::stop() { record(device_, to_); }

double Stopwatch::microseconds() const {
  float ms = 0;
  check(cudaEventSynchronize(event_of(to_)), "stopwatch");
  check(cudaEventElapsedTime(&ms, event_of(from_), event_of(to_)), "stopwatch");
  return ms * 1e3;
}

}  // namespace bobbin::cuda
