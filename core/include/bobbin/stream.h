// Streams: queues of work for a GPU. By default all work for a GPU is enqueued on one stream and runs in
// order.
#pragma once
#include <bobbin/device.h>

#include <memory>

namespace bobbin {

/// A further stream of a GPU. Copies of the object are the same stream.
class Stream {
 public:
  /// A new stream of this GPU. Throws DeviceError for a device that is not a GPU.
  explicit Stream(Device);
  /// The GPU of the stream.
  Device device() const { return device_; }
  /// The cudaStream_t.
  void* handle() const { return handle_.get(); }

 private:
  Device device_;
  std::shared_ptr<void> handle_;
};

/// While it lives, this thread enqueues its work for the stream's device on that stream. This work runs after
/// all work that the thread enqueued before, and before all work that it enqueues afterwards, so tensors may
/// be used inside and outside. Threads that share tensors of different streams must synchronize.
class StreamScope {
 public:
  /// Enqueues on the stream from now on.
  explicit StreamScope(const Stream&);
  ~StreamScope();  ///< enqueues on the earlier stream again
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  Stream stream_;
  void* before_;
};

}  // namespace bobbin
