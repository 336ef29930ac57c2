// Measures the time that a GPU takes between two points of the current stream. This header includes no CUDA
// header.
#pragma once
#include <bobbin/device.h>

namespace bobbin::cuda {

class Stopwatch {
 public:
  /// Starts the measurement; not inside a capture.
  explicit Stopwatch(Device);
  ~Stopwatch();
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  void stop();
  /// The time from the constructor to stop(). Waits until the GPU has passed stop().
  double microseconds() const;

 private:
  Device device_;
  [[maybe_unused]] void *from_ = nullptr, *to_ = nullptr;  // of type cudaEvent_t; unused without CUDA
};

}  // namespace bobbin::cuda
