// Dispatch on the storage dtype inside a kernel. All threads take the same branch.
#pragma once
#include "core/cuda/pack.cuh"

namespace bobbin::cuda {

/// Calls f(Type<T>{}) with the storage type of d, for a kernel that computes in C: i64 for integers and bool,
/// f32 or f64 for floating-point dtypes.
template<class C, class F>
__device__ __forceinline__ void visit_stored(DType d, F&& f) {
  if constexpr (std::is_integral_v<C>)
    visit_some<std::int64_t, std::int32_t, std::uint8_t>(d, f);
  else if constexpr (sizeof(C) == 8)
    visit_some<double, float, BFloat16, Half>(d, f);
  else
    visit_some<float, BFloat16, Half>(d, f);
}

/// A result as T, rounded to nearest even.
template<class T, class C>
__device__ __forceinline__ T stored(C x) {
  return narrow<T>(static_cast<Compute<T>>(x));
}

}  // namespace bobbin::cuda
