// Streams of a GPU, and the order between the work on two streams.
#include <bobbin/error.h>

#include "core/cuda/backend.h"
#include "core/cuda/runtime.h"

namespace bobbin::cuda {
namespace {

// Work that is enqueued on `later` from now on runs after all work that is on `earlier` now.
void follow(Device d, cudaStream_t later, cudaStream_t earlier) {
  const DeviceGuard use(d);
  cudaEvent_t event;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "stream");
  check(cudaEventRecord(event, earlier), "stream");
  check(cudaStreamWaitEvent(later, event), "stream");
  cudaEventDestroy(event);
}

}  // namespace

std::shared_ptr<void> make_stream(Device d) {
  const DeviceGuard use(d);
  cudaStream_t s;
  check(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "stream");
  return std::shared_ptr<void>(s, [](void* s) { cudaStreamDestroy(static_cast<cudaStream_t>(s)); });
}

void* enter_stream(Device d, void* entered) {
  const auto ours = static_cast<cudaStream_t>(entered);
  follow(d, ours, stream(d));
  return exchange_stream(d, ours);
}

void leave_stream(Device d, void* left, void* before) noexcept {
  exchange_stream(d, static_cast<cudaStream_t>(before));
  try {
    follow(d, stream(d), static_cast<cudaStream_t>(left));
  } catch (const Error&) {  // the device is lost; the next call throws
  }
}

}  // namespace bobbin::cuda
