// Forward-mode dual numbers: a number and its derivative in one direction. Dual<Dual<T>> has two directions
// and the second derivative along both. T is Rounded, a double with a bound on its rounding error.
// The functors of ops/elementwise/functors.h run on them as on double: argument-dependent lookup finds exp,
// log, ... here.
//
// Comparisons compare only values, so that a branch is the same with and without derivatives.
#pragma once
#include <cmath>
#include <numbers>

namespace bobbin::gradcheck_detail {

/// A value, and a bound on its rounding error to first order, in units of 2^-53: each operation adds the
/// rounding of its result to the errors of its operands (running error analysis: Higham, Accuracy and
/// Stability of Numerical Algorithms, 3.3). An elementary function counts as one rounding.
struct Rounded {
  double value = 0, error = 0;
  constexpr Rounded() = default;
  constexpr explicit Rounded(double v, double e = 0) : value(v), error(e) {}

  friend Rounded operator-(const Rounded& a) { return Rounded(-a.value, a.error); }
  friend Rounded operator+(const Rounded& a, const Rounded& b) {
    const double v = a.value + b.value;
    return Rounded(v, a.error + b.error + std::abs(v));
  }
  friend Rounded operator-(const Rounded& a, const Rounded& b) { return a + -b; }
  friend Rounded operator*(const Rounded& a, const Rounded& b) {
    const double v = a.value * b.value;
    return Rounded(v, a.error * std::abs(b.value) + std::abs(a.value) * b.error + std::abs(v));
  }
  friend Rounded operator/(const Rounded& a, const Rounded& b) {
    const double v = a.value / b.value;
    return Rounded(v, (a.error + std::abs(v) * b.error) / std::abs(b.value) + std::abs(v));
  }
  Rounded& operator+=(const Rounded& b) { return *this = *this + b; }
  friend bool operator==(const Rounded& a, const Rounded& b) { return a.value == b.value; }
  friend auto operator<=>(const Rounded& a, const Rounded& b) { return a.value <=> b.value; }
  friend bool operator==(const Rounded& a, double b) { return a.value == b; }
  friend auto operator<=>(const Rounded& a, double b) { return a.value <=> b; }

  /// f(a), where `slope` is f'(a).
  Rounded through(double f, double slope) const {
    return Rounded(f, (error == 0 ? 0 : std::abs(slope) * error) + std::abs(f));
  }
};
inline Rounded exp(const Rounded& a) {
  if (std::isinf(a.value) && a.value < 0) return Rounded(0);  // exact, however large the error of -inf
  return a.through(std::exp(a.value), std::exp(a.value));
}
inline Rounded expm1(const Rounded& a) { return a.through(std::expm1(a.value), std::exp(a.value)); }
inline Rounded log(const Rounded& a) { return a.through(std::log(a.value), 1 / a.value); }
inline Rounded log1p(const Rounded& a) { return a.through(std::log1p(a.value), 1 / (1 + a.value)); }
inline Rounded sqrt(const Rounded& a) { return a.through(std::sqrt(a.value), 0.5 / std::sqrt(a.value)); }
inline Rounded sin(const Rounded& a) { return a.through(std::sin(a.value), std::cos(a.value)); }
inline Rounded cos(const Rounded& a) { return a.through(std::cos(a.value), std::sin(a.value)); }
inline Rounded tanh(const Rounded& a) {
  const double t = std::tanh(a.value);
  return a.through(t, 1 - t * t);
}
inline Rounded erf(const Rounded& a) {
  return a.through(std::erf(a.value), 2 * std::numbers::inv_sqrtpi * std::exp(-a.value * a.value));
}
inline Rounded pow(const Rounded& a, const Rounded& b) {
  const double p = std::pow(a.value, b.value);
  Rounded out = a.through(p, b.value * std::pow(a.value, b.value - 1));
  if (b.error != 0 && a.value > 0) out.error += std::abs(p * std::log(a.value)) * b.error;
  return out;
}

template<class T>
struct Dual {
  T value{}, slope{};
  constexpr Dual() = default;
  constexpr Dual(T v, T s) : value(v), slope(s) {}
  explicit constexpr Dual(double v) : value(v) {}

  friend Dual operator-(const Dual& a) { return {-a.value, -a.slope}; }
  friend Dual operator+(const Dual& a, const Dual& b) { return {a.value + b.value, a.slope + b.slope}; }
  friend Dual operator-(const Dual& a, const Dual& b) { return {a.value - b.value, a.slope - b.slope}; }
  friend Dual operator*(const Dual& a, const Dual& b) {
    return {a.value * b.value, a.slope * b.value + a.value * b.slope};
  }
  friend Dual operator/(const Dual& a, const Dual& b) {
    const T q = a.value / b.value;
    return {q, (a.slope - q * b.slope) / b.value};
  }
  Dual& operator+=(const Dual& b) { return *this = *this + b; }

  friend bool operator==(const Dual& a, const Dual& b) { return a.value == b.value; }
  friend auto operator<=>(const Dual& a, const Dual& b) { return a.value <=> b.value; }
  friend bool operator==(const Dual& a, double b) { return a.value == b; }
  friend auto operator<=>(const Dual& a, double b) { return a.value <=> b; }
};

inline double value(const Rounded& x) { return x.value; }
template<class T>
double value(const Dual<T>& x) {
  return value(x.value);
}

// df(a) = f'(a) da, with f' computed in T, which may be a Dual too.
template<class T>
Dual<T> exp(const Dual<T>& a) {
  const T e = exp(a.value);
  return {e, e * a.slope};
}
template<class T>
Dual<T> expm1(const Dual<T>& a) {
  return {expm1(a.value), exp(a.value) * a.slope};
}
template<class T>
Dual<T> log(const Dual<T>& a) {
  return {log(a.value), a.slope / a.value};
}
template<class T>
Dual<T> log1p(const Dual<T>& a) {
  return {log1p(a.value), a.slope / (T(1) + a.value)};
}
template<class T>
Dual<T> sqrt(const Dual<T>& a) {
  const T r = sqrt(a.value);
  return {r, a.slope / (r + r)};
}
template<class T>
Dual<T> sin(const Dual<T>& a) {
  return {sin(a.value), cos(a.value) * a.slope};
}
template<class T>
Dual<T> cos(const Dual<T>& a) {
  return {cos(a.value), -sin(a.value) * a.slope};
}
/// The derivative is 1 - tanh^2, as in the operation: the bound covers the digits that cancel where |tanh| is
/// near 1.
template<class T>
Dual<T> tanh(const Dual<T>& a) {
  const T t = tanh(a.value);
  return {t, (T(1) - t * t) * a.slope};
}
template<class T>
Dual<T> erf(const Dual<T>& a) {
  return {erf(a.value), T(2 * std::numbers::inv_sqrtpi) * exp(-(a.value * a.value)) * a.slope};
}
inline bool is_zero(const Rounded& a) { return a.value == 0; }
template<class T>
bool is_zero(const Dual<T>& a) {
  return is_zero(a.value) && is_zero(a.slope);
}
/// Computes log a only if the exponent varies, because it is not defined for a < 0.
template<class T>
Dual<T> pow(const Dual<T>& a, const Dual<T>& b) {
  const T p = pow(a.value, b.value);
  T slope{};
  if (!is_zero(a.slope) && !is_zero(b.value)) slope += b.value * pow(a.value, b.value - T(1)) * a.slope;
  if (!is_zero(b.slope)) slope += p * log(a.value) * b.slope;
  return {p, slope};
}

}  // namespace bobbin::gradcheck_detail
