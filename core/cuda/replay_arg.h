// Kernel arguments whose values change from step to step, such as a learning rate. Outside a capture they are
// passed by value. A captured step reads them from device memory, which each replay fills first.
#pragma once
#include <bobbin/tensor.h>

#include <cstddef>
#include <functional>

#include "core/philox.h"

namespace bobbin::cuda {

/// A kernel argument: a value, or the address on the device where each replay puts the value.
template<class T>
struct ReplayArg {
  T value;
  const T* replayed = nullptr;  ///< null outside a capture
#ifdef __CUDACC__
  __device__ T get() const { return replayed ? *replayed : value; }
#endif
};

/// Whether this thread is capturing a step now.
bool capturing();

/// While capturing: lets f be called before every replay but the first, which stands for the call that was
/// captured. For counters that a step increments. Does nothing outside a capture.
void on_replay(std::function<void()> f);

/// While capturing: lets f be called if the capture fails. Takes back what the step did to such counters. f
/// does not throw. Does nothing outside a capture.
void on_failed_capture(std::function<void()> f);

namespace detail {
/// Returns `bytes` bytes of device memory. write(host) fills its host copy now and before every replay; these
/// calls and those of on_replay happen in the order in which they were requested.
const void* replayed(std::size_t bytes, std::function<void(void* host)> write);
}  // namespace detail

/// The present value of f(); in a captured step, the value that f() has at each replay. T is trivially
/// copyable.
template<class T, class F>
ReplayArg<T> replay_arg(F f) {
  if (!capturing()) return {f(), nullptr};
  return {T{}, static_cast<const T*>(
                   detail::replayed(sizeof(T), [f](void* host) { *static_cast<T*>(host) = f(); }))};
}

/// While capturing: an f32 tensor of one element that is 1, which needs no kernel in the graph. Undefined
/// outside a capture and for other dtypes.
Tensor captured_one(const TensorSpec&);

/// The state that a draw of this thread's generator starts from; in a captured step, the state at each
/// replay.
ReplayArg<Philox> replay_arg(const Philox&);

}  // namespace bobbin::cuda
