// Vectors of 64 bytes, whatever the size of a register: a reduction of their lanes gives the same bits on all
// processors. CPU only.
#pragma once
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "ops/cpu/registers.h"

namespace bobbin::simd {

/// The number of lanes of a Vector<T>, which hold an element each.
template<class T>
inline constexpr std::int64_t lanes = 64 / static_cast<std::int64_t>(sizeof(T));

/// A vector is made of registers, because GCC 12 compares and shuffles a longer vector type element by
/// element, 20 times slower.
template<class T>
struct Vector {
  static constexpr std::size_t parts = 64 / register_bytes;
  using Part __attribute__((vector_size(register_bytes))) = T;
  Part part[parts];

  T operator[](std::int64_t i) const { return part[i / register_lanes<T>][i % register_lanes<T>]; }
  static Vector all(T x) {
    return map([x](const Part& zero) { return zero + x; }, Vector{});
  }
  /// f of corresponding parts of all vectors.
  template<class F, class... V>
  [[gnu::always_inline]] static Vector map(F&& f, const V&... v) {
    Vector out;
#pragma GCC unroll 4
    for (std::size_t k = 0; k < parts; ++k) out.part[k] = f(v.part[k]...);
    return out;
  }
  friend Vector operator+(const Vector& a, const Vector& b) {
    return map([](const Part& x, const Part& y) { return x + y; }, a, b);
  }
  friend Vector operator-(const Vector& a, const Vector& b) {
    return map([](const Part& x, const Part& y) { return x - y; }, a, b);
  }
  friend Vector operator*(const Vector& a, const Vector& b) {
    return map([](const Part& x, const Part& y) { return x * y; }, a, b);
  }
  friend Vector operator/(const Vector& a, const Vector& b) {
    return map([](const Part& x, const Part& y) { return x / y; }, a, b);
  }
  Vector& operator+=(const Vector& b) { return *this = *this + b; }
};

/// The larger one in each lane; b where a is NaN.
template<class T>
Vector<T> max(const Vector<T>& a, const Vector<T>& b) {
  return Vector<T>::map([](const auto& x, const auto& y) { return x > y ? x : y; }, a, b);
}

/// Each lane of a where that lane of `mask` has all bits set, of b where it has none set.
template<class T>
Vector<T> if_then_else(const Vector<T>& mask, const Vector<T>& a, const Vector<T>& b) {
  using Bits __attribute__((vector_size(register_bytes))) = std::int32_t;
  return Vector<T>::map(
      [](const auto& m, const auto& x, const auto& y) {
        return (typename Vector<T>::Part)(((Bits)m & (Bits)x) | (~(Bits)m & (Bits)y));
      },
      mask, a, b);
}

template<class T>
Vector<T> load(const T* x) {
  Vector<T> v;
  for (auto& part : v.part) {  // GCC would split one memcpy of all parts into smaller copies
    std::memcpy(&part, x, sizeof part);
    x += register_lanes<T>;
  }
  return v;
}
namespace detail {
#if defined(__AVX512F__)
// A mask with one bit for each 32 bits of the first n elements.
template<class T>
__mmask16 first_lanes(std::int64_t n) {
  return static_cast<__mmask16>((1u << n * static_cast<std::int64_t>(sizeof(T) / 4)) - 1);
}
#elif defined(__AVX__)
// A mask for one register, with all bits of the first n elements set. n may be negative or more than a
// register holds.
template<class T>
__m256i first_lanes(std::int64_t n) {
  static constexpr std::int32_t masks[] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
  const auto words = std::clamp<std::int64_t>(n * static_cast<std::int64_t>(sizeof(T) / 4), 0, 8);
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(masks + 8 - words));
}
#endif
}  // namespace detail

/// The first n elements of x, and `rest` in the other lanes. No other element of x is read.
template<class T>
Vector<T> load(const T* x, std::int64_t n, T rest) {
#if defined(__AVX512F__)
  return Vector<T>::map(
      [=](const auto& fill) {
        return (typename Vector<T>::Part)_mm512_mask_loadu_ps((__m512)fill, detail::first_lanes<T>(n), x);
      },
      Vector<T>::all(rest));
#elif defined(__AVX__)
  Vector<T> v = Vector<T>::all(rest);
  for (auto& part : v.part) {
    const __m256i mask = detail::first_lanes<T>(n);
    part = (typename Vector<T>::Part)_mm256_blendv_ps(
        (__m256)part, _mm256_maskload_ps(reinterpret_cast<const float*>(x), mask), (__m256)mask);
    x += register_lanes<T>;
    n -= register_lanes<T>;
  }
  return v;
#else
  T v[lanes<T>];
  std::fill(std::copy_n(x, n, v), v + lanes<T>, rest);
  return load(v);
#endif
}
template<class T>
void store(const Vector<T>& v, T* x) {
  for (const auto& part : v.part) {
    std::memcpy(x, &part, sizeof part);
    x += register_lanes<T>;
  }
}
/// Stores the first n lanes.
template<class T>
void store(const Vector<T>& v, T* x, std::int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(x, detail::first_lanes<T>(n), (__m512)v.part[0]);
#elif defined(__AVX__)
  for (const auto& part : v.part) {
    _mm256_maskstore_ps(reinterpret_cast<float*>(x), detail::first_lanes<T>(n), (__m256)part);
    x += register_lanes<T>;
    n -= register_lanes<T>;
  }
#else
  T lane[lanes<T>];
  store<T>(v, lane);
  std::copy_n(lane, n, x);
#endif
}

/// Stores without bringing x into the caches (a non-temporal store). x is aligned to 64 bytes.
template<class T>
void stream(const Vector<T>& v, T* x) {
  for (const auto& part : v.part) {
    [[maybe_unused]] float* const to = reinterpret_cast<float*>(x);
#if defined(__AVX512F__)
    _mm512_stream_ps(to, (__m512)part);
#elif defined(__AVX__)
    _mm256_stream_ps(to, (__m256)part);
#elif defined(__SSE2__)
    _mm_stream_ps(to, (__m128)part);
#else
    std::memcpy(x, &part, sizeof part);
#endif
    x += register_lanes<T>;
  }
}
/// Orders all earlier calls of stream() before later stores (a store fence).
inline void end_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

/// The first n elements of x, at most a vector, and `rest` in the other lanes.
template<class T>
[[gnu::always_inline]] inline Vector<T> load_n(const T* x, std::int64_t n, T rest = 0) {
  return n == lanes<T> ? load(x) : load(x, n, rest);
}

namespace detail {
template<std::size_t by, class V, std::size_t... lane>
V rotated(const V& v, std::index_sequence<lane...>) {
  return __builtin_shufflevector(v, v, ((lane + by) % sizeof...(lane))...);
}
// Combines the parts in pairs with f: the first half with the second, until one part is left.
template<class T, class F>
typename Vector<T>::Part reduce_parts(Vector<T> v, F&& f) {
  for (std::size_t half = Vector<T>::parts / 2; half > 0; half /= 2)
    for (std::size_t k = 0; k < half; ++k) v.part[k] = f(v.part[k], v.part[k + half]);
  return v.part[0];
}
}  // namespace detail

/// Combines the lanes in pairs with f: the first half with the second, until one lane is left.
template<class T, std::size_t width = register_bytes / sizeof(T) / 2, class R, class F>
T reduce_lanes(const R& v, F&& f) {
  if constexpr (width == 0)
    return v[0];
  else
    return reduce_lanes<T, width / 2>(
        f(v, detail::rotated<width>(v, std::make_index_sequence<register_bytes / sizeof(T)>())), f);
}
template<class T, class F>
T reduce(const Vector<T>& v, F&& f) {
  return reduce_lanes<T>(detail::reduce_parts<T>(v, f), f);
}

namespace detail {
// Half of the lanes of a and half of those of b. Lane j of the result comes from b where j has the bit
// `step`, else from a; its lane number there is j without that bit, or with it if `upper`. For single 32-bit
// lanes (step 1) the order is that of the unpack instructions.
template<std::size_t step, bool upper, class V>
V halves(const V& a, const V& b) {
  constexpr std::size_t count = sizeof(V) / sizeof(a[0]);
  constexpr bool unpacked = step == 1 && sizeof(a[0]) == 4;
  return [&]<std::size_t... j>(std::index_sequence<j...>) {
    return __builtin_shufflevector(
        a, b,
        (unpacked ? j / 4 * 4 + j % 4 / 2 + 2 * upper : (j & ~step) + step * upper) +
            (j & step ? count : 0)...);
  }
  (std::make_index_sequence<count>());
}
}  // namespace detail

/// Reduces all registers of a square: lane r of the result combines the lanes of v[r] in pairs with f.
template<class V, std::size_t count, class F>
[[gnu::always_inline]] inline V reduce_registers(V (&v)[count], F&& f) {
  const auto pairs = [&]<std::size_t step>(std::integral_constant<std::size_t, step>) {
#pragma GCC unroll 16
    for (std::size_t r = 0; r < count; r += 2 * step)
      v[r] = f(detail::halves<step, false>(v[r], v[r + step]), detail::halves<step, true>(v[r], v[r + step]));
  };
  [&]<std::size_t... i>(std::index_sequence<i...>) {
    (pairs(std::integral_constant<std::size_t, std::size_t{1} << i>()), ...);
  }
  (std::make_index_sequence<std::bit_width(count) - 1>());
  return v[0];
}

/// Lane r of the result combines the lanes of row r in pairs with f.
template<class T, class F>
Vector<T> reduce_each(const T (*rows)[lanes<T>], F&& f) {
  constexpr std::size_t count = register_bytes / sizeof(T);
  Vector<T> out;
  for (std::size_t k = 0; k < Vector<T>::parts; ++k) {
    typename Vector<T>::Part row[count];
    for (std::size_t r = 0; r < count; ++r) row[r] = detail::reduce_parts<T>(load(rows[k * count + r]), f);
    out.part[k] = reduce_registers(row, f);
  }
  return out;
}

template<class T>
T reduce_sum(const Vector<T>& v) {
  return reduce<T>(v, [](const auto& a, const auto& b) { return a + b; });
}

/// Transposes a square of lanes in place: exchanges single lanes, then pairs of lanes, then groups of 4.
template<class V, std::size_t count, std::size_t step = 1>
[[gnu::always_inline]] inline void transpose(V (&v)[count]) {
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

}  // namespace bobbin::simd
