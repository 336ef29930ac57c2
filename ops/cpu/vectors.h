// Vectors of 64 bytes, in as many registers as that takes: a sum over their lanes is the same everywhere. CPU
// only.
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

namespace bobbin {

template<class T>
inline constexpr std::int64_t lanes_of = 64 / static_cast<std::int64_t>(sizeof(T));

/// GCC 12 takes vectors that are longer than a register apart, element by element, where it compares or
/// shuffles them: 20 times slower. So these are made of registers.
template<class T>
struct Vector {
  static constexpr std::size_t parts = 64 / register_bytes;
  using Part __attribute__((vector_size(register_bytes))) = T;
  Part part[parts];

  T operator[](std::int64_t i) const { return part[i / register_lanes<T>][i % register_lanes<T>]; }
  static Vector all(T x) {
    return map([x](const Part& zero) { return zero + x; }, Vector{});
  }
  /// f of the parts of all vectors, part by part.
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

/// The larger of each lane; b where a is NaN.
template<class T>
Vector<T> larger(const Vector<T>& a, const Vector<T>& b) {
  return Vector<T>::map([](const auto& x, const auto& y) { return x > y ? x : y; }, a, b);
}

/// Lanes of a where those of `which` have all bits set, of b where they have none.
template<class T>
Vector<T> select(const Vector<T>& which, const Vector<T>& a, const Vector<T>& b) {
  using Bits __attribute__((vector_size(register_bytes))) = std::int32_t;
  return Vector<T>::map(
      [](const auto& w, const auto& x, const auto& y) {
        return (typename Vector<T>::Part)(((Bits)w & (Bits)x) | (~(Bits)w & (Bits)y));
      },
      which, a, b);
}

template<class T>
Vector<T> load(const T* x) {
  Vector<T> v;
  for (auto& part : v.part) {  // a copy of all would go by pieces
    std::memcpy(&part, x, sizeof part);
    x += register_lanes<T>;
  }
  return v;
}
namespace detail {
#if defined(__AVX512F__)
// A bit for each 32 bits of the first n elements.
template<class T>
__mmask16 first_lanes(std::int64_t n) {
  return static_cast<__mmask16>((1u << n * static_cast<std::int64_t>(sizeof(T) / 4)) - 1);
}
#elif defined(__AVX__)
// Ones for each bit of the first n elements, of a register; n may be less than 0, or more than there are.
template<class T>
__m256i first_lanes(std::int64_t n) {
  static constexpr std::int32_t masks[] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
  const auto words = std::clamp<std::int64_t>(n * static_cast<std::int64_t>(sizeof(T) / 4), 0, 8);
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(masks + 8 - words));
}
#endif
}  // namespace detail

/// The first n elements of x, and `rest` behind them; nothing else of x is touched.
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
  T v[lanes_of<T>];
  std::fill(std::copy_n(x, n, v), v + lanes_of<T>, rest);
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
/// The first n lanes.
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
  T lane[lanes_of<T>];
  store<T>(v, lane);
  std::copy_n(lane, n, x);
#endif
}

/// Written past the caches, where the processor can; x is aligned to a vector.
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
/// After the last stream(): other threads see it once they see what is stored next.
inline void end_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

/// n elements of x, a vector of them at most, and `rest` behind them.
template<class T>
[[gnu::always_inline]] inline Vector<T> read(const T* x, std::int64_t n, T rest = 0) {
  return n == lanes_of<T> ? load(x) : load(x, n, rest);
}

namespace detail {
template<std::size_t by, class V, std::size_t... lane>
V rotated(const V& v, std::index_sequence<lane...>) {
  return __builtin_shufflevector(v, v, ((lane + by) % sizeof...(lane))...);
}
template<class T, std::size_t width, class P, class F>
T fold(const P& part, F&& f) {
  constexpr auto lanes = std::make_index_sequence<register_bytes / sizeof(T)>();
  if constexpr (width == 0)
    return part[0];
  else
    return fold<T, width / 2>(f(part, rotated<width>(part, lanes)), f);
}
// f of the parts two by two, by halves.
template<class T, class F>
typename Vector<T>::Part fold_parts(Vector<T> v, F&& f) {
  for (std::size_t half = Vector<T>::parts / 2; half > 0; half /= 2)
    for (std::size_t k = 0; k < half; ++k) v.part[k] = f(v.part[k], v.part[k + half]);
  return v.part[0];
}
}  // namespace detail

/// f of the lanes two by two, by halves.
template<class T, class F>
T fold(const Vector<T>& v, F&& f) {
  return detail::fold<T, register_bytes / sizeof(T) / 2>(detail::fold_parts<T>(v, f), f);
}

namespace detail {
// Half of the lanes of a, then of b, by pairs of lanes, pairs of pairs and so on: lane j is b's where j has
// the bit `step`. Neighbours of 32 bits are passed by, as the processor unpacks them.
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

/// Lane r of the result is f of the lanes of v[r], two by two.
template<class V, std::size_t lanes, class F>
[[gnu::always_inline]] inline V fold_registers(V (&v)[lanes], F&& f) {
  const auto pairs = [&]<std::size_t step>(std::integral_constant<std::size_t, step>) {
#pragma GCC unroll 16
    for (std::size_t r = 0; r < lanes; r += 2 * step)
      v[r] = f(detail::halves<step, false>(v[r], v[r + step]), detail::halves<step, true>(v[r], v[r + step]));
  };
  [&]<std::size_t... i>(std::index_sequence<i...>) {
    (pairs(std::integral_constant<std::size_t, std::size_t{1} << i>()), ...);
  }
  (std::make_index_sequence<std::bit_width(lanes) - 1>());
  return v[0];
}

/// Lane r of the result is f of the lanes of row r, two by two.
template<class T, class F>
Vector<T> fold_each(const T (*rows)[lanes_of<T>], F&& f) {
  constexpr std::size_t lanes = register_bytes / sizeof(T);
  Vector<T> out;
  for (std::size_t k = 0; k < Vector<T>::parts; ++k) {
    typename Vector<T>::Part row[lanes];
    for (std::size_t r = 0; r < lanes; ++r) row[r] = detail::fold_parts<T>(load(rows[k * lanes + r]), f);
    out.part[k] = fold_registers(row, f);
  }
  return out;
}

template<class T>
T sum_of_lanes(const Vector<T>& v) {
  return fold<T>(v, [](const auto& a, const auto& b) { return a + b; });
}

/// A square of lanes turned on its other side: pairs of lanes change places, then pairs of pairs.
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

}  // namespace bobbin
