// The functions that other folders call for work on a GPU. In a library without CUDA, absent.cpp defines
// them: there is no GPU. This header includes no CUDA header.
#pragma once
#include <bobbin/tensor.h>

#include <functional>
#include <memory>
#include <optional>

#include "core/philox.h"

namespace bobbin::cuda {

/// The copy_elements of core/strided_copy.h where x or y, or both, are on a GPU. A copy to a GPU returns as
/// soon as x may be edited; a copy to the host waits until it is done. transfer.cpp
void copy_elements(const Tensor& x, const Tensor& y);
/// The same for tensors of one shape on one GPU: enqueues a kernel. Both may be strided. copy.cu
void copy_on_device(const Tensor& x, const Tensor& y);
/// Sets every element of y to `value`, rounded to its dtype as on the CPU. copy.cu
void fill_elements(const Tensor& y, double value);

/// The draws of core/random.cpp, on the GPU. y is a fresh contiguous tensor. Its elements have the bits of
/// the CPU's, except for normal(), where log, sin and cos may differ in the last place. random.cu
void uniform(const Tensor& y, const Philox&, double low, double high, double top);
void normal(const Tensor& y, const Philox&);
void randint(const Tensor& y, const Philox&, std::int64_t low, std::uint64_t range);
void bernoulli(const Tensor& y, const Philox&, const Chance&);
void randperm(const Tensor& y, const Philox&);

/// A GPU's allocator. allocator.cpp
Allocator& allocator(Device);
/// Sets n bytes of device memory; only enqueues. transfer.cpp
void memset_async(Device, void* p, int value, std::size_t n);
/// Copies n bytes of device memory to the host and waits. Does not throw what earlier kernels reported.
/// transfer.cpp
void memcpy_to_host(Device, const void* p, void* host, std::size_t n);

/// A new cudaStream_t of the GPU. stream.cpp
std::shared_ptr<void> make_stream(Device);
/// Makes `stream` the one that this thread enqueues on, after all work that it enqueued before. Returns the
/// previous stream. stream.cpp
void* enter_stream(Device, void* stream);
/// Undoes enter_stream: work that is enqueued from now on runs after all work on `stream`. stream.cpp
void leave_stream(Device, void* stream, void* before) noexcept;

/// The GPU that this thread enqueued work on last; a caller may reset it to nullopt. runtime.cpp
std::optional<Device>& last_used();

/// A step recorded as a CUDA graph. The implementation is StepGraph (capture.h).
class Replay {
 public:
  virtual ~Replay() = default;
  /// Enqueues the step `times` times.
  virtual void run(std::int64_t times) = 0;
};
/// Runs `step` while what it enqueues on the GPU is recorded, and not executed. capture.cpp
std::unique_ptr<Replay> record_step(Device, const std::function<void()>& step);

}  // namespace bobbin::cuda
