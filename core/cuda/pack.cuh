// Packs of elements that one instruction loads or stores, conversions between storage and compute types, and
// the calls of programmatic dependent launch.
#pragma once
#include <bobbin/dtype.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "core/cuda/ptx.cuh"

namespace bobbin::cuda {

/// n elements, aligned to their size: 16 bytes by default.
template<class T, int n = 16 / sizeof(T)>
struct alignas(n * sizeof(T)) Pack {
  static constexpr int size = n;
  T v[n];
};

/// The type that kernels compute in: f32 for the 16-bit types.
template<class T>
using Compute = std::conditional_t<is_16bit_float<T>, float, T>;

/// A stored element in its compute type; exact.
template<class T>
__device__ __forceinline__ Compute<T> widen(T x) {
  if constexpr (std::is_same_v<T, Half>)
    return __half2float(__ushort_as_half(x.bits));
  else if constexpr (std::is_same_v<T, BFloat16>)
    return __uint_as_float(static_cast<unsigned>(x.bits) << 16);
  else
    return x;
}

/// x rounded to the storage type, ties to even.
template<class T>
__device__ __forceinline__ T narrow(Compute<T> x) {
  if constexpr (std::is_same_v<T, Half>) {
    Half h;
    h.bits = __half_as_ushort(__float2half_rn(x));
    return h;
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    BFloat16 b;
    b.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
    return b;
  } else {
    return x;
  }
}

/// Waits for the previous kernel's writes (programmatic dependent launch). A kernel launched `early` calls it
/// before it accesses memory that other kernels write. Instructions before the call overlap with the previous
/// kernel.
__device__ __forceinline__ void await_data() {
#if __CUDA_ARCH__ >= 900
  ptx::griddepcontrol_wait();
#endif
}
/// Allows the next kernel to start if it is launched `early`; without this call it starts when this kernel
/// ends. Only after await_data(): otherwise blocks of two kernels that both wait would occupy the
/// multiprocessors unevenly.
__device__ __forceinline__ void call_next() {
#if __CUDA_ARCH__ >= 900
  ptx::griddepcontrol_launch_dependents();
#endif
}
/// await_data() and call_next(), for short kernels.
__device__ __forceinline__ void await_previous() {
  await_data();
  call_next();
}

/// Whether the address is a multiple of `bytes`.
inline bool is_aligned(const void* p, std::size_t bytes = 16) {
  return reinterpret_cast<std::uintptr_t>(p) % bytes == 0;
}

}  // namespace bobbin::cuda
