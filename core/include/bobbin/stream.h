// Streams: queues of GPU work. Without one, all work for a device goes to that device's own stream, in order.
#pragma once
#include <bobbin/device.h>

#include <memory>

namespace bobbin {

/// A further queue of a GPU. Copies share it. Throws DeviceError for a device that is no GPU.
class Stream {
 public:
  /// A new queue of this GPU.
  explicit Stream(Device);
  /// The GPU it belongs to.
  Device device() const { return device_; }
  /// The cudaStream_t.
  void* handle() const { return handle_.get(); }

 private:
  Device device_;
  std::shared_ptr<void> handle_;
};

/// While it lives, this thread's work for the stream's device goes there: after all it enqueued before, and
/// before all it enqueues afterwards. Tensors may cross that border freely; where several threads share
/// tensors of different streams, they must synchronize.
class StreamScope {
 public:
  /// Begins to enqueue on the stream, after what was enqueued before.
  explicit StreamScope(const Stream&);
  ~StreamScope();  ///< later work waits for that of the stream
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  Stream stream_;
  void* before_;
};

}  // namespace bobbin
