// Vectors of 64 bytes, in as many registers as that takes: a sum over their lanes is the same everywhere. CPU
// only.
#pragma once
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "registers.h"

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

template<class T>
Vector<T> load(const T* x) {
  Vector<T> v;
  for (auto& part : v.part) {  // a copy of all would go by pieces
    std::memcpy(&part, x, sizeof part);
    x += register_lanes<T>;
  }
  return v;
}
#if defined(__AVX512F__)
namespace detail {
// A bit for each 32 bits of the first n elements.
template<class T>
__mmask16 first_lanes(std::int64_t n) {
  return static_cast<__mmask16>((1u << n * static_cast<std::int64_t>(sizeof(T) / 4)) - 1);
}
}  // namespace detail
#endif

/// The first n elements of x, and `rest` behind them; nothing else of x is touched.
template<class T>
Vector<T> load(const T* x, std::int64_t n, T rest) {
#if defined(__AVX512F__)
  return Vector<T>::map(
      [=](const auto& fill) {
        return (typename Vector<T>::Part)_mm512_mask_loadu_ps((__m512)fill, detail::first_lanes<T>(n), x);
      },
      Vector<T>::all(rest));
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
Vector<T> read(const T* x, std::int64_t n, T rest = 0) {
  return n == lanes_of<T> ? load(x) : load(x, n, rest);
}

/// Vectors that one step of a pass over a row takes: passes over several rows run beside each other by steps.
inline constexpr std::int64_t vectors_in_step = 4;

/// y = f, n elements of it, past the caches if `large`: f(i, k) gives elements i to i + k.
template<class T, class F>
class Writer {
 public:
  Writer(T* y, std::int64_t n, bool large, F f) : y_(y), n_(n), large_(large), f_(f) {
    if (!large) return;
    next_ = std::min(n, static_cast<std::int64_t>(-reinterpret_cast<std::uintptr_t>(y) % 64 / sizeof(T)));
    if (next_ > 0) store<T>(f_(std::int64_t{0}, next_), y_, next_);
  }
  void step() {
    if (next_ + vectors_in_step * width > n_) return;
#pragma GCC unroll 4
    for (std::int64_t k = 0; k < vectors_in_step; ++k) vector();
  }
  void rest() {
    while (next_ + width <= n_) vector();
    if (next_ < n_) store<T>(f_(next_, n_ - next_), y_ + next_, n_ - next_);
  }

 private:
  static constexpr std::int64_t width = lanes_of<T>;
  void vector() {
    const Vector<T> v = f_(next_, width);
    large_ ? stream<T>(v, y_ + next_) : store<T>(v, y_ + next_);
    next_ += width;
  }
  T* y_;
  std::int64_t n_, next_ = 0;
  bool large_;
  F f_;
};

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
}  // namespace detail

/// f of the lanes two by two, by halves.
template<class T, class F>
T fold(Vector<T> v, F&& f) {
  for (std::size_t half = Vector<T>::parts / 2; half > 0; half /= 2)
    for (std::size_t k = 0; k < half; ++k) v.part[k] = f(v.part[k], v.part[k + half]);
  return detail::fold<T, register_bytes / sizeof(T) / 2>(v.part[0], f);
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
/// Squares of registers first, each in its place.
template<class T, std::size_t count>
[[gnu::always_inline]] inline void transpose(Vector<T> (&v)[count]) {
  constexpr std::size_t size = register_bytes / sizeof(T);
  using Square = typename Vector<T>::Part[size];
  const auto copy = [&](std::size_t row, std::size_t k, Square& to) {
    for (std::size_t i = 0; i < size; ++i) to[i] = v[row * size + i].part[k];
  };
  const auto put = [&](const Square& from, std::size_t row, std::size_t k) {
    for (std::size_t i = 0; i < size; ++i) v[row * size + i].part[k] = from[i];
  };
#pragma GCC unroll 4
  for (std::size_t row = 0; row < count / size; ++row)
#pragma GCC unroll 4
    for (std::size_t k = row; k < count / size; ++k) {
      Square a, b;
      copy(row, k, a);
      copy(k, row, b);
      transpose(a);
      if (k > row) transpose(b), put(b, row, k);
      put(a, k, row);
    }
}

}  // namespace bobbin
