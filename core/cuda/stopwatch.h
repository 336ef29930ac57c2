// The time that the GPU takes between two places of the current stream.
#pragma once
#include "core/cuda/runtime.h"

namespace bobbin::cuda {

class Stopwatch {
 public:
  /// Begins; not inside a capture.
  explicit Stopwatch(Device d) : device_(d) {
    const DeviceGuard use(d);
    check(cudaEventCreate(&from_), "stopwatch");
    check(cudaEventCreate(&to_), "stopwatch");
    check(cudaEventRecord(from_, stream(d)), "stopwatch");
  }
  ~Stopwatch() { cudaEventDestroy(from_), cudaEventDestroy(to_); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  void stop() {
    const DeviceGuard use(device_);
    check(cudaEventRecord(to_, stream(device_)), "stopwatch");
  }
  /// Waits until the GPU was there.
  double microseconds() const {
    float ms = 0;
    check(cudaEventSynchronize(to_), "stopwatch");
    check(cudaEventElapsedTime(&ms, from_, to_), "stopwatch");
    return ms * 1e3;
  }

 private:
  Device device_;
  cudaEvent_t from_ = nullptr, to_ = nullptr;
};

}  // namespace bobbin::cuda
