// The functions of one number with their closed forms, and the checks that compare a device with them.
#pragma once
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "tests/ops/ulp.h"

namespace bobbin::tests::closed_forms {

using Real = long double;
constexpr Real inf = std::numeric_limits<Real>::infinity(), nan = std::numeric_limits<Real>::quiet_NaN();
constexpr Real root_2 = std::numbers::sqrt2_v<Real>, inv_root_pi = std::numbers::inv_sqrtpi_v<Real>;

// Beyond these limits every exponential below is 0, also in long double.
inline Real finite(Real x) { return std::isinf(x) ? std::copysign(20000.L, x) : x; }
inline Real logistic(Real x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }
inline Real bell(Real x) { return logistic(x) * logistic(-x); }
inline Real density(Real x) { return inv_root_pi / root_2 * std::exp(-x * x / 2); }
inline Real below(Real x) { return std::erfc(-x / root_2) / 2; }

// v of gelu's approximation x s(v), and its derivatives.
constexpr Real k = 2 * root_2 * inv_root_pi, c = 0.044715L;
inline Real inner(Real x) { return k * (x + c * x * x * x); }
inline Real inner_slope(Real x) { return k * (1 + 3 * c * x * x); }

inline Real power_slope(Real x, Real e, int order) {
  Real factor = 1;
  for (int i = 0; i < order; ++i) factor *= e - i;
  return factor == 0 ? 0 : factor * std::pow(x, e - order);
}
// A function that is linear on either side of 0. A NaN is passed on, and its gradient with it.
inline Real kinked(Real x, Real left, Real right) { return !(x <= 0) ? right : left; }

struct Function {
  const char* name;
  Tensor (*op)(const Tensor&);
  Real (*exact[3])(Real);  // value and two derivatives
  double ulps[3];          // in f32; in f64 with long double's own error, and within 1 in 16 bits
};

#define EXACT(expression) []([[maybe_unused]] Real x) -> Real { return expression; }
#define POWER(e)                                                                                   \
  {                                                                                                \
    "pow(x, " #e ")", [](const Tensor& x) { return pow(x, e); },                                   \
        {EXACT(std::pow(x, Real(e))), EXACT(power_slope(x, e, 1)), EXACT(power_slope(x, e, 2))}, { \
      1, 3, 4                                                                                      \
    }                                                                                              \
  }

inline const Function functions[] = {
    {"neg", neg, {EXACT(-x), EXACT(-1), EXACT(0)}, {0, 0, 0}},
    {"abs",
     abs,
     {EXACT(std::abs(x)),
      EXACT(x > 0   ? 1
            : x < 0 ? -1
                    : x),
      EXACT(0)},
     {0, 0, 0}},
    {"sign",
     sign,
     {EXACT(x > 0   ? 1
            : x < 0 ? -1
                    : x),
      EXACT(0), EXACT(0)},
     {0, 0, 0}},
    {"relu", relu, {EXACT(kinked(x, 0, x)), EXACT(kinked(x, 0, 1)), EXACT(0)}, {0, 0, 0}},
    {"leaky_relu",
     [](const Tensor& x) { return leaky_relu(x, 0.25); },
     {EXACT(kinked(x, x / 4, x)), EXACT(kinked(x, 0.25L, 1)), EXACT(0)},
     {1, 0, 0}},
    {"clamp",
     [](const Tensor& x) { return clamp(x, -1.5, 2); },
     {EXACT(x < -1.5L ? -1.5L
            : x > 2   ? 2
                      : x),
      EXACT(x<-1.5L || x> 2 ? 0 : 1), EXACT(0)},
     {0, 0, 0}},
    {"square", square, {EXACT(x * x), EXACT(2 * x), EXACT(2)}, {1, 1, 1}},
    {"exp", exp, {EXACT(std::exp(x)), EXACT(std::exp(x)), EXACT(std::exp(x))}, {2, 3, 4}},
    {"expm1", expm1, {EXACT(std::expm1(x)), EXACT(std::exp(x)), EXACT(std::exp(x))}, {1, 5, 6}},
    {"log", log, {EXACT(std::log(x)), EXACT(1 / x), EXACT(-1 / (x * x))}, {1, 1, 3}},
    {"log1p", log1p, {EXACT(std::log1p(x)), EXACT(1 / (1 + x)), EXACT(-1 / ((1 + x) * (1 + x)))}, {1, 2, 4}},
    {"sqrt",
     sqrt,
     {EXACT(std::sqrt(x)), EXACT(0.5L / std::sqrt(x)), EXACT(-0.25L / x / std::sqrt(x))},
     {1, 2, 3}},
    {"rsqrt",
     rsqrt,
     {EXACT(1 / std::sqrt(x)), EXACT(-0.5L / x / std::sqrt(x)), EXACT(0.75L / x / x / std::sqrt(x))},
     {2, 3, 4}},
    {"reciprocal", reciprocal, {EXACT(1 / x), EXACT(-1 / (x * x)), EXACT(2 / (x * x * x))}, {1, 2, 3}},
    {"sin", sin, {EXACT(std::sin(x)), EXACT(std::cos(x)), EXACT(-std::sin(x))}, {1, 1, 1}},
    {"cos", cos, {EXACT(std::cos(x)), EXACT(-std::sin(x)), EXACT(-std::cos(x))}, {1, 1, 1}},
    {"tanh",
     tanh,
     {EXACT(std::tanh(x)), EXACT(4 * bell(2 * finite(x))), EXACT(-8 * std::tanh(x) * bell(2 * finite(x)))},
     {3, 6, 9}},
    {"erf",
     erf,
     {EXACT(std::erf(x)), EXACT(2 * inv_root_pi * std::exp(-x * x)),
      EXACT(-4 * finite(x) * inv_root_pi * std::exp(-x * x))},
     {2, 4, 5}},
    {"sigmoid", sigmoid, {EXACT(logistic(x)), EXACT(bell(x)), EXACT(-bell(x) * std::tanh(x / 2))}, {3, 6, 9}},
    {"silu",
     silu,
     {EXACT(x < 0 ? finite(x) * logistic(x) : x * logistic(x)), EXACT(logistic(x) + finite(x) * bell(x)),
      EXACT(bell(x) * (2 - finite(x) * std::tanh(x / 2)))},
     {5, 10, 12}},
    {"softplus",
     softplus,
     {EXACT(std::isnan(x) ? x : std::max(x, 0.L) + std::log1p(std::exp(-std::abs(x)))), EXACT(logistic(x)),
      EXACT(bell(x))},
     {2, 5, 6}},
    {"elu",
     [](const Tensor& x) { return elu(x, 1.5); },
     {EXACT(x > 0 ? x : 1.5L * std::expm1(x)), EXACT(x > 0 ? 1 : 1.5L * std::exp(x)),
      EXACT(x > 0 ? 0 : 1.5L * std::exp(x))},
     {2, 6, 6}},
    {"gelu",
     [](const Tensor& x) { return gelu(x); },
     {EXACT(x < 0 ? finite(x) * below(x) : x * below(x)), EXACT(below(x) + finite(x) * density(x)),
      EXACT(density(x) * (2 - finite(x) * finite(x)))},
     {6, 10, 400}},
    {"gelu_tanh",
     [](const Tensor& x) { return gelu(x, Gelu::tanh); },
     {EXACT(x < 0 ? finite(x) * logistic(inner(x)) : x * logistic(inner(x))),
      EXACT(logistic(inner(x)) + finite(x) * bell(inner(x)) * inner_slope(finite(x))),
      EXACT(bell(inner(x)) *
            (2 * inner_slope(finite(x)) + 6 * c * k * finite(x) * finite(x) -
             finite(x) * inner_slope(finite(x)) * inner_slope(finite(x)) * std::tanh(inner(x) / 2)))},
     {300, 400, 800}},
    POWER(0),
    POWER(1),
    POWER(2),
    POWER(3),
    POWER(0.5),
    POWER(2.5),
    POWER(-1),
    POWER(-2),
};

// Of either sign; what a dtype cannot hold is rounded to it first.
inline std::vector<double> points(DType d) {
  const Format f = format(d);
  std::vector<double> all{0, std::ldexp(1, f.least), std::ldexp(3, f.least), std::ldexp(1, f.least - f.bits),
                          std::ldexp(5, f.least - f.bits + 2)};
  for (const double x : {1e-30, 1e-20, 1e-10, 1e-4, 0.1,   0.5, 1.,   1.5,  2.,   3.,   5.,    8.,
                         9.,    12.,   13.5,  17.,  20.,   30., 40.,  60.,  87.,  95.,  100.,  103.,
                         200.,  500.,  700.,  745., 1000., 3e4, 1e10, 1e20, 1e30, 3e38, 1e200, 1e308})
    all.push_back(x);
  all.push_back(std::numeric_limits<double>::infinity());
  const std::size_t n = all.size();
  for (std::size_t i = 0; i < n; ++i) all.push_back(-all[i]);
  all.push_back(std::numeric_limits<double>::quiet_NaN());
  return rounded_to(all, d);
}

constexpr DType floating[] = {DType::f64, DType::f32, DType::bf16, DType::f16};

/// The error that f may have, in units in the last place. In f64, the forms of gelu round the argument of the
/// exponential, which costs x^2 units at x.
inline double allowed(const Function& f, int order, DType d, Device device) {
  if (size_of(d) == 2) return 1;
  const double ulps = std::string(f.name).starts_with("gelu") && d == DType::f64 ? 1000 : f.ulps[order];
  return device.is_cpu() || ulps == 0 ? ulps : 2 * ulps + 4;  // CUDA's functions have errors of their own
}

// The derivatives of f at x with the cotangents g and h: g f'(x) and h g f''(x); empty if there is none.
struct Derivatives {
  std::vector<double> first, second;
};
inline Derivatives derivatives(const Function& f, const Tensor& at, const Tensor& g) {
  const Tensor x = at.detach().set_requires_grad();
  const Tensor first = grad(f.op(x), {x}, g, CreateGraph::yes)[0];
  Derivatives all{first.to_vector<double>(), {}};
  if (first.requires_grad()) {
    const auto second = grad(first, {x}, ones_like(first.detach()));
    all.second = second[0].to_vector<double>();
  }
  return all;
}

/// Value, first and second derivative of every function at every point.
inline void expect_values_and_derivatives(Device device) {
  int compared = 0;
  for (const Function& f : functions)
    for (const DType d : floating) {
      const auto at = points(d);
      const Tensor x = to(to(from_range(at), d), device);
      const auto value = f.op(x).to_vector<double>();
      const auto [first, second] = derivatives(f, x, ones_like(x));
      for (std::size_t i = 0; i < at.size(); ++i) {
        const auto check = [&](int order, double got) {
          ++compared;
          EXPECT_LE(ulps_apart(got, f.exact[order](at[i]), d), allowed(f, order, d, device))
              << f.name << ", derivative " << order << " at " << at[i] << " in " << name(d) << ": " << got
              << ", not " << static_cast<double>(f.exact[order](at[i]));
        };
        check(0, value[i]);
        if (std::isnan(value[i]) && !std::isnan(at[i])) continue;  // outside the domain
        check(1, first[i]);
        if (!second.empty()) check(2, second[i]);
      }
    }
  EXPECT_GT(compared, 20000);
}

/// A gradient of any size: with a power of two that brings the derivative near 1, it keeps its digits where
// the function has a normal value.
inline void expect_scaled_derivatives(Device device) {
  int compared = 0;
  for (const Function& f : functions)
    for (const DType d : floating) {
      const Format range = format(d);
      std::vector<double> at, scale;
      for (const double x : points(d)) {
        const Real y = f.exact[0](x), slope = f.exact[1](x);
        if (!std::isfinite(x) || !is_normal(y, d) || slope == 0 || !std::isfinite(slope)) continue;
        const int exponent = -std::ilogb(slope);
        if (exponent < range.least || exponent > range.most()) continue;
        at.push_back(x), scale.push_back(std::ldexp(1, exponent));
      }
      if (at.empty()) continue;
      const auto got =
          derivatives(f, to(to(from_range(at), d), device), to(to(from_range(scale), d), device)).first;
      for (std::size_t i = 0; i < at.size(); ++i, ++compared)
        EXPECT_LE(ulps_apart(got[i], f.exact[1](at[i]) * scale[i], d), allowed(f, 1, d, device))
            << f.name << " at " << at[i] << " times " << scale[i] << " in " << name(d) << ": " << got[i];
    }
  EXPECT_GT(compared, 3000);
}

#undef POWER
#undef EXACT

}  // namespace bobbin::tests::closed_forms
