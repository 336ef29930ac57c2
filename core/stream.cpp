#include <bobbin/error.h>
#include <bobbin/stream.h>

#if BOBBIN_HAS_CUDA
#include "core/cuda/runtime.h"
#endif

namespace bobbin {

#if BOBBIN_HAS_CUDA
namespace cuda {
namespace {

// What is enqueued on `later` from now on runs after all that is on `earlier`.
void follow(Device d, cudaStream_t later, cudaStream_t earlier) {
  const DeviceGuard use(d);
  cudaEvent_t event;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "stream");
  check(cudaEventRecord(event, earlier), "stream");
  check(cudaStreamWaitEvent(later, event), "stream");
  cudaEventDestroy(event);
}

}  // namespace
}  // namespace cuda

Stream::Stream(Device d) : device_(d) {
  if (!d.is_cuda()) fail<DeviceError>("stream: only a GPU has streams; got ", d);
  require(d);
  const cuda::DeviceGuard use(d);
  cudaStream_t s;
  cuda::check(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "stream");
  handle_ = std::shared_ptr<void>(s, [](void* s) { cudaStreamDestroy(static_cast<cudaStream_t>(s)); });
}

StreamScope::StreamScope(const Stream& s) : stream_(s) {
  const auto ours = static_cast<cudaStream_t>(s.handle());
  cuda::follow(s.device(), ours, cuda::stream(s.device()));
  before_ = cuda::exchange_stream(s.device(), ours);
}

StreamScope::~StreamScope() {
  const auto ours = static_cast<cudaStream_t>(stream_.handle());
  cuda::exchange_stream(stream_.device(), static_cast<cudaStream_t>(before_));
  try {
    cuda::follow(stream_.device(), cuda::stream(stream_.device()), ours);
  } catch (const Error&) {  // the device is lost; the next call says so
  }
}
#else
Stream::Stream(Device d) : device_(d) {
  if (!d.is_cuda()) fail<DeviceError>("stream: only a GPU has streams; got ", d);
  require(d);
}
StreamScope::StreamScope(const Stream& s) : stream_(s), before_(nullptr) {}
StreamScope::~StreamScope() = default;
#endif

}  // namespace bobbin
