// Exponentials of vectors. CPU only.
#pragma once
#include "ops/cpu/vectors.h"
#include "ops/scalar_math.h"

namespace bobbin::simd {
namespace detail {

// exp(x) of each lane, times a power of two that depends on `max` alone: the same as exp(x - max) up to one
// factor per row. x - max is never computed, so its rounding error does not arise. The factor contains 2^36
// (`up`), so results that matter in a sum are not subnormal. Only for |max| <= max_scaled: beyond that,
// x log2(e) has too few bits for the fraction.
inline constexpr float max_scaled = 1024;
class ScaledExp {
  using Part = Vector<float>::Part;
  using Integers = Vector<std::int32_t>::Part;
  Vector<float> low, to;
  ScaledExp(const Vector<float>& low, const Vector<float>& to) : low(low), to(to) {}

 public:
  explicit ScaledExp(const Vector<float>& max)
      : low(max + Vector<float>::all(math::detail::exp_low)),
        to(Vector<float>::map(
            [](const Part& m) {
              constexpr float up = 36, bias = 127;
              return math::detail::round + up + bias - math::detail::Reduced(m).n;
            },
            max)) {}
  /// The same function with lane r's maximum in all lanes.
  ScaledExp of(std::int64_t r) const { return {Vector<float>::all(low[r]), Vector<float>::all(to[r])}; }
  Vector<float> operator()(const Vector<float>& x) const {
    return Vector<float>::map(
        [](const Part& x, const Part& low, const Part& to) {
          const math::detail::Reduced<Part> reduced(x, to);
          const Part power = std::bit_cast<Part>(std::bit_cast<Integers>(reduced.shifted) << 23);
          const Part e = math::detail::exp_less_1(reduced.r) * power + power;
          return x < low ? Part{} : e;
        },
        x, low, to);
  }
};

}  // namespace detail

/// math::exp_difference of each lane.
template<class T>
Vector<T> exp_difference(const Vector<T>& x, const Vector<T>& m) {
  using Part = typename Vector<T>::Part;
  return Vector<T>::map(
      [](const Part& x, const Part& m) {
        if constexpr (std::is_same_v<T, float>) {
          return math::detail::exp_difference<Part, Vector<std::int32_t>::Part>(x, m);
        } else {
          Part e;
          for (std::size_t j = 0; j < sizeof(Part) / sizeof(T); ++j)
            e[j] = math::exp_difference(static_cast<T>(x[j]), static_cast<T>(m[j]));
          return e;
        }
      },
      x, m);
}

/// Calls f(e), where e(x) is exp(x - max) times a factor that depends on `max` alone, for x <= max + 40.
template<class T, class F>
[[gnu::always_inline]] inline decltype(auto) with_exponential(T max, F&& f) {
  const auto all = Vector<T>::all(max);
  if constexpr (std::is_same_v<T, float>)
    if (max >= -detail::max_scaled && max <= detail::max_scaled) return f(detail::ScaledExp(all));
  return f([all](const Vector<T>& x) { return exp_difference(x, all); });
}

/// The same for as many rows as a vector has lanes: lane r of `max` is the maximum of row r.
template<class T>
class Exponentials {
 public:
  explicit Exponentials(const Vector<T>& max) : scaled_(max) { store<T>(max, max_); }
  /// Calls f(e) with the exponential of row r.
  template<class F>
  [[gnu::always_inline]] void of(std::int64_t r, F&& f) const {
    if constexpr (std::is_same_v<T, float>)
      if (std::abs(max_[r]) <= detail::max_scaled) return f(scaled_.of(r));
    f([max = Vector<T>::all(max_[r])](const Vector<T>& x) { return exp_difference(x, max); });
  }

 private:
  struct None {
    explicit None(const Vector<T>&) {}
  };
  std::conditional_t<std::is_same_v<T, float>, detail::ScaledExp, None> scaled_;
  T max_[lanes<T>];
};

}  // namespace bobbin::simd
