// What all code that calls CUDA shares: errors, devices, the current stream, launches. Only for sources that
// are part of a build with CUDA.
#pragma once
#include <bobbin/tensor.h>
#include <cuda_runtime.h>

#include <string_view>
#include <type_traits>

#include "core/ceil_div.h"

namespace bobbin::cuda {

/// Throws unless the status is success: OutOfMemory, DeviceLost if the context can no longer be used, else
/// CudaError. `what` begins the message.
void check(cudaError_t, std::string_view what);

struct Properties {
  std::string name;
  int major = 0, minor = 0;
  int sms = 0;                        ///< streaming multiprocessors
  std::int64_t shared_per_block = 0;  ///< the most that a kernel can opt in to
  std::int64_t shared_per_sm = 0;
};
/// The properties of a device that can be used. CUDA is asked once.
const Properties& properties(Device);

/// While it lives, d is the device of this thread's CUDA calls.
class DeviceGuard {
 public:
  explicit DeviceGuard(Device d);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_;
};

/// The stream that this thread enqueues work for d on.
cudaStream_t stream(Device d);

/// Makes s this thread's stream for d (null: the default one of Bobbin for d); returns the previous one.
cudaStream_t exchange_stream(Device d, cudaStream_t s);

/// Waits until all that this thread enqueued on d is done; synchronizations() counts it. Throws the errors
/// that kernels have reported, and Error, beginning with `what`, inside a capture.
void wait(Device d, std::string_view what);

struct Launch {
  Device device;
  dim3 grid, block;
  std::size_t shared =
      0;  ///< bytes of dynamic shared memory; with it, a kernel may have up to 16 KiB of static shared memory
  int cluster = 1;           ///< blocks of a thread-block cluster (compute capability 9.0 on)
  bool cooperative = false;  ///< all blocks must be resident at once
  bool early = false;  ///< programmatic dependent launch: starts early, and calls await_data() (pack.cuh)
};

namespace detail {
void launch(std::string_view op, const Launch&, const void* kernel, void** args);
}

/// Enqueues a kernel on the current stream; an empty grid enqueues nothing. Throws CudaError, beginning with
/// `op`, if the launch fails, and the errors that earlier kernels reported.
template<class... P>
void launch(std::string_view op, const Launch& l, void (*kernel)(P...), std::type_identity_t<P>... args) {
  void* pointers[] = {static_cast<void*>(&args)..., nullptr};
  detail::launch(op, l, reinterpret_cast<const void*>(kernel), pointers);
}

/// The number of blocks, of `per_block` elements each, that cover n elements, up to the limit of a grid.
inline unsigned blocks_for(std::int64_t n, std::int64_t per_block) {
  const std::int64_t blocks = ceil_div(n, per_block);
  return static_cast<unsigned>(blocks < 0x7fffffff ? blocks : 0x7fffffff);
}

}  // namespace bobbin::cuda
