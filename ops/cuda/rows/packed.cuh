// Packs of 16 bytes: the row engine loads, holds and stores elements as packs, and converts 16-bit elements
// to f32 only where it computes with them.
#pragma once
#include "core/cuda/pack.cuh"
#include "core/cuda/ptx.cuh"

namespace bobbin::cuda {

template<class T>
inline constexpr int per_pack = 16 / static_cast<int>(sizeof(T));

/// The dynamic shared memory of the block.
__device__ __forceinline__ uint4* shared_packs() {
  extern __shared__ uint4 shared[];
  return shared;
}

template<class C>
__device__ __forceinline__ C infinity() {
  if constexpr (sizeof(C) == 8)
    return __longlong_as_double(0x7ff0000000000000);
  else
    return __int_as_float(0x7f800000);
}

template<class C>
__device__ __forceinline__ C not_a_number() {
  if constexpr (sizeof(C) == 8)
    return __longlong_as_double(0x7fffffffffffffff);
  else
    return __int_as_float(0x7fffffff);
}

/// A pack of -infinity or of zeros, for elements past the end of a row.
template<class T>
__device__ __forceinline__ uint4 padding_pack(bool infinite) {
  if (!infinite) return {0, 0, 0, 0};
  if constexpr (std::is_same_v<T, double>) return {0, 0xfff00000, 0, 0xfff00000};
  constexpr unsigned word = std::is_same_v<T, float>      ? 0xff800000
                            : std::is_same_v<T, BFloat16> ? 0xff80ff80
                                                          : 0xfc00fc00;
  return {word, word, word, word};
}

template<class T>
__device__ __forceinline__ void unpack(const uint4& x, Compute<T> (&v)[per_pack<T>]) {
  const unsigned word[4] = {x.x, x.y, x.z, x.w};
  if constexpr (std::is_same_v<T, double>) {
    v[0] = __hiloint2double(static_cast<int>(x.y), static_cast<int>(x.x));
    v[1] = __hiloint2double(static_cast<int>(x.w), static_cast<int>(x.z));
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (std::is_same_v<T, float>) {
        v[i] = __uint_as_float(word[i]);
      } else if constexpr (std::is_same_v<T, BFloat16>) {
        v[2 * i] = __uint_as_float(word[i] << 16);
        v[2 * i + 1] = __uint_as_float(word[i] & 0xffff0000u);
      } else {
        const float2 f = __half22float2(reinterpret_cast<const __half2&>(word[i]));
        v[2 * i] = f.x;
        v[2 * i + 1] = f.y;
      }
    }
  }
}

template<class T>
__device__ __forceinline__ uint4 pack(const Compute<T> (&v)[per_pack<T>]) {
  if constexpr (std::is_same_v<T, double>) {
    const auto low = [](double d) { return static_cast<unsigned>(__double2loint(d)); };
    const auto high = [](double d) { return static_cast<unsigned>(__double2hiint(d)); };
    return {low(v[0]), high(v[0]), low(v[1]), high(v[1])};
  } else {
    unsigned word[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (std::is_same_v<T, float>) {
        word[i] = __float_as_uint(v[i]);
      } else if constexpr (std::is_same_v<T, BFloat16>) {
        const __nv_bfloat162 pair = __floats2bfloat162_rn(v[2 * i], v[2 * i + 1]);
        word[i] = reinterpret_cast<const unsigned&>(pair);
      } else {
        const __half2 pair = __floats2half2_rn(v[2 * i], v[2 * i + 1]);
        word[i] = reinterpret_cast<const unsigned&>(pair);
      }
    }
    return {word[0], word[1], word[2], word[3]};
  }
}

__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }
__device__ __forceinline__ double larger(double a, double b) { return fmax(a, b); }

template<class T>
__device__ __forceinline__ T smaller(T a, T b) {
  return a < b ? a : b;
}

/// The elementwise maximum of two packs; NaN only where both elements are NaN.
template<class T>
__device__ __forceinline__ uint4 larger_pack(const uint4& a, const uint4& b) {
  if constexpr (is_16bit_float<T>) {
    using Pair = std::conditional_t<std::is_same_v<T, Half>, __half2, __nv_bfloat162>;
    const auto of = [](unsigned x, unsigned y) {
      const Pair m = __hmax2(reinterpret_cast<const Pair&>(x), reinterpret_cast<const Pair&>(y));
      return reinterpret_cast<const unsigned&>(m);
    };
    return {of(a.x, b.x), of(a.y, b.y), of(a.z, b.z), of(a.w, b.w)};
  } else {
    Compute<T> u[per_pack<T>], v[per_pack<T>];
    unpack<T>(a, u);
    unpack<T>(b, v);
#pragma unroll
    for (int i = 0; i < per_pack<T>; ++i) u[i] = larger(u[i], v[i]);
    return pack<T>(u);
  }
}
template<class T>
__device__ __forceinline__ Compute<T> largest(const uint4& x) {
  Compute<T> v[per_pack<T>];
  unpack<T>(x, v);
#pragma unroll
  for (int width = per_pack<T> / 2; width > 0; width /= 2)
#pragma unroll
    for (int i = 0; i < width; ++i) v[i] = larger(v[i], v[i + width]);
  return v[0];
}

/// Loads a pack, or returns `otherwise` if `there` is false. Does not allocate in the L1 cache, because rows
/// are read once.
__device__ __forceinline__ uint4 load_pack(const void* p, bool there, uint4 otherwise) {
  ptx::ld_global_no_allocate_v4(otherwise, p, there);
  return otherwise;
}
/// Stores a pack in one access; the compiler splits a plain assignment.
__device__ __forceinline__ void store_pack(void* p, const uint4& x, bool there = true) {
  ptx::st_global_v4(p, x, there);
}

/// Starts a copy of 16 bytes to shared memory that uses no registers. This thread can read it after
/// await_copies.
__device__ __forceinline__ void copy_pack(uint4* shared, const void* p) { ptx::cp_async_cg_16(shared, p); }
__device__ __forceinline__ void await_copies() { ptx::cp_async_wait_all(); }

}  // namespace bobbin::cuda
