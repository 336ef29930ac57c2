// Vectors of 64 bytes, whatever the processor has: a sum over their lanes is the same everywhere. CPU only.
#pragma once
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "math.h"

namespace bobbin {

template<class T>
using Vector __attribute__((vector_size(64))) = T;
template<class T>
inline constexpr std::int64_t lanes_of = 64 / static_cast<std::int64_t>(sizeof(T));

template<class T>
Vector<T> load(const T* x) {
  Vector<T> v;
  std::memcpy(&v, x, sizeof v);
  return v;
}
/// The first n elements of x, and `rest` behind them.
template<class T>
Vector<T> load(const T* x, std::int64_t n, T rest) {
  T v[lanes_of<T>];
  for (std::int64_t j = 0; j < lanes_of<T>; ++j) v[j] = j < n ? x[j] : rest;
  return load(v);
}
template<class T>
void store(const Vector<T>& v, T* x) {
  std::memcpy(x, &v, sizeof v);
}
/// The first n lanes.
template<class T>
void store(const Vector<T>& v, T* x, std::int64_t n) {
  T lane[lanes_of<T>];
  store<T>(v, lane);
  for (std::int64_t j = 0; j < lanes_of<T>; ++j)
    if (j < n) x[j] = lane[j];
}

/// Written past the caches, where the processor can; x is aligned to a vector.
template<class T>
void stream(const Vector<T>& v, T* x) {
#if defined(__AVX512F__)
  _mm512_stream_ps(reinterpret_cast<float*>(x), reinterpret_cast<const __m512&>(v));
#elif defined(__AVX__)
  for (int k = 0; k < 2; ++k)
    _mm256_stream_ps(reinterpret_cast<float*>(x) + 8 * k, reinterpret_cast<const __m256*>(&v)[k]);
#elif defined(__SSE2__)
  for (int k = 0; k < 4; ++k)
    _mm_stream_ps(reinterpret_cast<float*>(x) + 4 * k, reinterpret_cast<const __m128*>(&v)[k]);
#else
  store<T>(v, x);
#endif
}
/// After the last stream(): other threads see it once they see what is stored next.
inline void end_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

/// n elements of x, a vector of them at most, and `rest` behind them.
template<class T>
Vector<T> read(const T* x, std::int64_t n, T rest = 0) {
  return n == lanes_of<T> ? load(x) : load(x, n, rest);
}

/// y = f, n elements of it, past the caches if `large`: f(i, k) gives elements i to i + k.
template<class T, class F>
void write(T* y, std::int64_t n, bool large, F&& f) {
  constexpr std::int64_t width = lanes_of<T>;
  std::int64_t i = 0;
  if (large) {
    i = static_cast<std::int64_t>(-reinterpret_cast<std::uintptr_t>(y) % 64 / sizeof(T));
    if (i > n) i = 0;
    if (i > 0) store<T>(f(std::int64_t{0}, i), y, i);
    for (; i + width <= n; i += width) stream<T>(f(i, width), y + i);
  }
  for (; i + width <= n; i += width) store<T>(f(i, width), y + i);
  if (i < n) store<T>(f(i, n - i), y + i, n - i);
}

namespace detail {
template<std::size_t by, class V, std::size_t... lane>
V rotated(const V& v, std::index_sequence<lane...>) {
  return __builtin_shufflevector(v, v, ((lane + by) % sizeof...(lane))...);
}
}  // namespace detail

/// f of the lanes two by two, by halves.
template<class T, std::size_t width = static_cast<std::size_t>(lanes_of<T>) / 2, class F>
T fold(const Vector<T>& v, F&& f) {
  if constexpr (width == 0)
    return v[0];
  else
    return fold<T, width / 2>(
        f(v, detail::rotated<width>(v, std::make_index_sequence<static_cast<std::size_t>(lanes_of<T>)>())),
        f);
}
template<class T>
T sum_of_lanes(const Vector<T>& v) {
  return fold<T>(v, [](const auto& a, const auto& b) { return a + b; });
}

/// A square of lanes turned on its other side: pairs of lanes change places, then pairs of pairs.
template<class V, std::size_t count, std::size_t step = 1>
void transpose(V (&v)[count]) {
  if constexpr (step < count) {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < count; ++i) {
      if (i & step) continue;
      const V a = v[i], b = v[i + step];
      [&]<std::size_t... j>(std::index_sequence<j...>) {
        v[i] = __builtin_shufflevector(a, b, (j & step ? count + j - step : j)...);
        v[i + step] = __builtin_shufflevector(a, b, (j & step ? count + j : j + step)...);
      }
      (std::make_index_sequence<count>());
    }
    transpose<V, count, step * 2>(v);
  }
}

/// math::exp_difference of each lane.
inline Vector<float> exp_difference(const Vector<float>& x, const Vector<float>& m) {
  return math::detail::exp_difference<Vector<float>, Vector<std::int32_t>>(x, m);
}
inline Vector<double> exp_difference(Vector<double> x, const Vector<double>& m) {
  for (std::int64_t j = 0; j < lanes_of<double>; ++j)
    x[j] = math::exp_difference(static_cast<double>(x[j]), static_cast<double>(m[j]));
  return x;
}

}  // namespace bobbin
