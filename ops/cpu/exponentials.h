// Exponentials of vectors. CPU only.
#pragma once
#include "ops/cpu/vectors.h"
#include "ops/scalar_math.h"

namespace bobbin {
namespace detail {
// exp(x - most) of each lane, but for a factor f that hangs on `most` alone: exp(most) is rounded to a power
// of two, and nothing else is. Results that a sum can tell from 0 are above the subnormals, so that their
// power of two is a factor of its own. Beyond most_scaled x has not enough digits for this.
inline constexpr float most_scaled = 1024;
class ScaledExp {
  using Part = Vector<float>::Part;
  using Integers = Vector<std::int32_t>::Part;
  Vector<float> low, to;
  ScaledExp(const Vector<float>& low, const Vector<float>& to) : low(low), to(to) {}

 public:
  explicit ScaledExp(const Vector<float>& most)
      : low(most + Vector<float>::all(math::detail::exp_low)),
        to(Vector<float>::map(
            [](const Part& m) {
              constexpr float up = 36, bias = 127;
              return math::detail::round + up + bias - math::detail::Reduced(m).n;
            },
            most)) {}
  /// With the factor of lane r.
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

/// f(e), where e gives exp(x - most), up to a factor that hangs on `most` alone; x <= most + 40.
template<class T, class F>
[[gnu::always_inline]] inline decltype(auto) with_exponential(T most, F&& f) {
  const auto all = Vector<T>::all(most);
  if constexpr (std::is_same_v<T, float>)
    if (most >= -detail::most_scaled && most <= detail::most_scaled) return f(detail::ScaledExp(all));
  return f([all](const Vector<T>& x) { return exp_difference(x, all); });
}
/// The same for many at once.
template<class T>
class Exponentials {
 public:
  explicit Exponentials(const Vector<T>& most) : scaled_(most) { store<T>(most, most_); }
  /// f(e) for lane r.
  template<class F>
  [[gnu::always_inline]] void of(std::int64_t r, F&& f) const {
    if constexpr (std::is_same_v<T, float>)
      if (std::abs(most_[r]) <= detail::most_scaled) return f(scaled_.of(r));
    f([most = Vector<T>::all(most_[r])](const Vector<T>& x) { return exp_difference(x, most); });
  }

 private:
  struct None {
    explicit None(const Vector<T>&) {}
  };
  std::conditional_t<std::is_same_v<T, float>, detail::ScaledExp, None> scaled_;
  T most_[lanes_of<T>];
};

}  // namespace bobbin
