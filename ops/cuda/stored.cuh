// The dtype that elements are stored in, looked up while a kernel runs: the same way for all its threads.
#pragma once
#include "core/cuda/pack.cuh"

namespace bobbin::cuda {

/// Calls f(Type<T>{}) with the type that elements of d are stored in, where a kernel computes in C: integers
/// and bool in i64, floating ones in their own precision or more.
template<class C, class F>
__device__ __forceinline__ void visit_stored(DType d, F&& f) {
  if constexpr (std::is_integral_v<C>)
    visit_some<std::int64_t, std::int32_t, std::uint8_t>(d, f);
  else if constexpr (sizeof(C) == 8)
    visit_some<double, float, BFloat16, Half>(d, f);
  else
    visit_some<float, BFloat16, Half>(d, f);
}

/// A result as T, rounded as core/strided_copy.h's `convert` does.
template<class T, class C>
__device__ __forceinline__ T stored(C x) {
  return narrow<T>(static_cast<Compute<T>>(x));
}

}  // namespace bobbin::cuda
