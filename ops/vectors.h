// Vectors of 64 bytes, whatever the processor has: a sum over their lanes is the same everywhere. CPU only.
#pragma once
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
