// Elements that move together: 16-byte packs, and the way between storage and compute types.
#pragma once
#include <bobbin/dtype.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "core/cuda/ptx.cuh"

namespace bobbin::cuda {

template<class T, int n = 16 / sizeof(T)>
struct alignas(n * sizeof(T)) Pack {
  static constexpr int size = n;
  T v[n];
};

/// The type kernels compute in: f32 for the 16-bit types.
template<class T>
using Compute = std::conditional_t<is_16bit_float<T>, float, T>;

template<class T>
__device__ __forceinline__ Compute<T> widen(T x) {
  if constexpr (std::is_same_v<T, Half>)
    return __half2float(__ushort_as_half(x.bits));
  else if constexpr (std::is_same_v<T, BFloat16>)
    return __uint_as_float(static_cast<unsigned>(x.bits) << 16);
  else
    return x;
}

/// Rounds to nearest even.
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

/// What a kernel that is launched `early` does before it touches memory: its blocks take their places while
/// the kernel before it runs, and what it takes to launch, and comes before this call, is then no longer
/// seen.
__device__ __forceinline__ void await_data() {
#if __CUDA_ARCH__ >= 900
  ptx::griddepcontrol_wait();
#endif
}
/// Lets the next kernel's blocks in where that is launched early: at the end of a kernel all are. Never
/// before await_data(): two kernels that wait would crowd multiprocessors unevenly.
__device__ __forceinline__ void call_next() {
#if __CUDA_ARCH__ >= 900
  ptx::griddepcontrol_launch_dependents();
#endif
}
/// Both at once: for short kernels.
__device__ __forceinline__ void await_previous() {
  await_data();
  call_next();
}

inline bool is_aligned(const void* p, std::size_t bytes = 16) {
  return reinterpret_cast<std::uintptr_t>(p) % bytes == 0;
}

}  // namespace bobbin::cuda
