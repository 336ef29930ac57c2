// Kernel arguments that the host works out anew for each step. Outside a capture they are passed by value;
// a captured step reads them from device memory, where each replay puts them first.
#pragma once
#include <bobbin/tensor.h>

#include <cstddef>
#include <functional>

#include "core/philox.h"

namespace bobbin::cuda {

template<class T>
struct ReplayArg {
  T value;
  const T* replayed = nullptr;  ///< on the device
#ifdef __CUDACC__
  __device__ T get() const { return replayed ? *replayed : value; }
#endif
};

/// Whether this thread is capturing a step now.
bool capturing();

/// While capturing: calls f before every replay but the first, which stands for the call that was captured.
/// For counters that a step moves on. Otherwise does nothing.
void on_replay(std::function<void()> f);

namespace detail {
/// Device memory that write(host) fills now and before every replay, in turn with the on_replay calls.
const void* replayed(std::size_t bytes, std::function<void(void* host)> write);
}  // namespace detail

/// f() now; in a captured step, f() of each replay. T is trivially copyable, of at most 64 bytes.
template<class T, class F>
ReplayArg<T> replay_arg(F f) {
  if (!capturing()) return {f(), nullptr};
  return {T{}, static_cast<const T*>(
                   detail::replayed(sizeof(T), [f](void* host) { *static_cast<T*>(host) = f(); }))};
}

/// While capturing: a 1 that replays need no kernel for, in place of a fresh f32 tensor of one element.
/// Undefined at other times and for other dtypes.
Tensor captured_one(const TensorSpec&);

/// A draw of this thread's generator; in a captured step, each replay's own.
ReplayArg<Philox> replay_arg(const Philox&);

}  // namespace bobbin::cuda
