// Checks of reductions at the edges of range and count, for every device: tiny and huge numbers, more
// elements than a 16-bit type counts, rows far from zero, lost tails, NaN. What is right comes from closed
// forms, or from f64 numbers of ordinary size scaled by powers of two, which is exact.
#pragma once
#include <bobbin/autograd.h>
#include <bobbin/ops.h>
#include <bobbin/random.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace bobbin::test {

using Values = std::vector<double>;
using Function = std::function<Tensor(const Tensor&)>;

// f(s x) = s^degree f(x) for s > 0.
struct Homogeneous {
  std::string name;
  Function call;
  int degree = 1;
};
inline const std::vector<Homogeneous>& homogeneous() {
  constexpr double inf = std::numeric_limits<double>::infinity();
  static const std::vector<Homogeneous> all{
      {"sum", [](auto& x) { return sum(x, {1}); }},
      {"mean", [](auto& x) { return mean(x, {1}); }},
      {"var", [](auto& x) { return var(x, {1}); }, 2},
      {"std", [](auto& x) { return bobbin::std(x, {1}); }},
      {"std of all", [](auto& x) { return bobbin::std(x, {}, 0); }},
      {"max", [](auto& x) { return max(x, {1}); }},
      {"min", [](auto& x) { return min(x, {1}); }},
      {"amax", [](auto& x) { return amax(x, {1}); }},
      {"amin", [](auto& x) { return amin(x, {1}); }},
      {"cumsum", [](auto& x) { return cumsum(x, 1); }},
      {"norm 1", [](auto& x) { return norm(x, 1, {1}); }},
      {"norm 2", [](auto& x) { return norm(x, 2, {1}); }},
      {"norm 3", [](auto& x) { return norm(x, 3, {1}); }},
      {"norm 3 of all", [](auto& x) { return norm(x, 3); }},
      {"norm 0.5", [](auto& x) { return norm(x, 0.5, {1}); }},
      {"norm 20", [](auto& x) { return norm(x, 20, {1}); }},
      {"norm inf", [](auto& x) { return norm(x, inf, {1}); }},
  };
  return all;
}

// f(x), its gradient for a cotangent of ones, and the gradient of sum(w * gradient), w = 1, -1, 2, -2, 1, ...
struct Orders {
  Values value, first, second;
};
inline Orders orders(const Function& f, const Tensor& at) {
  const Tensor x = at.detach().set_requires_grad(), y = f(x);
  const Tensor g = grad(y, {x}, ones_like(y), CreateGraph::yes)[0];
  Orders out{y.to_vector<double>(), g.to_vector<double>(), {}};
  if (!g.requires_grad()) return out;
  Tensor w = zeros(x.shape(), DType::f64);
  for (std::size_t i = 0; double& v : w.mutable_data<double>())
    v = (i % 2 ? -1.0 : 1.0) * (i / 2 % 2 ? 2 : 1), ++i;
  out.second = grad(g, {x}, to(to(w, x.dtype()), x.device()))[0].to_vector<double>();
  return out;
}

struct Kind {
  DType dtype;
  double unit;     // the distance of 1 from the next number
  double ulps;     // allowed, of the largest element
  double least;    // the smallest positive number
  int tiny, huge;  // powers of two by which ordinary numbers are scaled
};
inline const Kind kinds[] = {{DType::f64, 0x1p-52, 256, 0x1p-1074, -1000, 1000},
                             {DType::f32, 0x1p-23, 64, 0x1p-149, -110, 110},
                             {DType::bf16, 0x1p-7, 2, 0x1p-133, -110, 110},
                             {DType::f16, 0x1p-10, 2, 0x1p-24, -9, 9}};

// `got` is `want`, which may be beyond the range of the dtype.
inline void expect_scaled(const Values& got, const Values& want, int power, const Kind& k,
                          const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double most = 0;
  for (const double w : want) most = std::max(most, std::abs(w));
  const double error = std::ldexp(most, power) * k.ulps * k.unit + k.least;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double w = std::ldexp(want[i], power), rounded = full({}, w, k.dtype).item();
    const bool fits = std::isfinite(full({}, w * (1 + k.unit), k.dtype).item());
    ASSERT_TRUE(got[i] == rounded || (std::abs(got[i] - w) <= error && std::isfinite(got[i])) ||
                (!fits && std::isinf(got[i])))
        << what << " [" << i << "]: " << got[i] << ", not " << w;
  }
}

inline void expect_the_same_at_every_scale(Device device) {
  manual_seed(5);
  const Tensor numbers =
      (to(randint(1, 128, {5, 47}), DType::f64) * (to(randint(0, 2, {5, 47}), DType::f64) * 2 - 1)) / 32;
  for (auto& f : homogeneous()) {
    const Orders want = orders(f.call, numbers);
    for (const Kind& k : kinds)
      for (const int power : {k.tiny, 0, k.huge}) {
        const std::string what =
            f.name + " in " + std::string(name(k.dtype)) + " times 2^" + std::to_string(power);
        const Tensor x = to(to(numbers * std::ldexp(1.0, power), k.dtype), device);
        const Orders got = orders(f.call, x);
        expect_scaled(got.value, want.value, f.degree * power, k, what);
        expect_scaled(got.first, want.first, (f.degree - 1) * power, k, what + ", first derivative");
        if (power == 0)
          expect_scaled(got.second, want.second, (f.degree - 2) * power, k, what + ", second derivative");
      }
  }
}

// Each derivative is 1 / n or a fraction of it, times the cotangent 2^14.
inline void expect_counts_beyond_16_bits(Device device) {
  constexpr std::int64_t n = 70'000;
  constexpr double inf = std::numeric_limits<double>::infinity(), up = 0x1p14;
  const double share = up / n, root = std::sqrt(static_cast<double>(n));
  struct Case {
    const char* name;
    Function f;
    double value, slope;
  };
  const Case cases[] = {
      {"mean", [](auto& x) { return mean(x); }, 1, share},
      {"amax", [](auto& x) { return amax(x); }, 1, share},
      {"amin", [](auto& x) { return amin(x); }, 1, share},
      {"norm 1", [](auto& x) { return norm(x / n, 1); }, 1, share},
      {"norm 2", [](auto& x) { return norm(x); }, root, up / root},
      {"norm 3", [](auto& x) { return norm(x, 3); }, std::cbrt(static_cast<double>(n)),
       up / std::cbrt(1.0 * n * n)},
      {"norm inf", [](auto& x) { return norm(x, inf); }, 1, share},
      {"logsumexp", [](auto& x) { return logsumexp(x); }, 1 + std::log(static_cast<double>(n)), share},
      {"mse_loss", [](auto& x) { return mse_loss(x, zeros_like(x)); }, 1, 2 * share},
  };
  for (const Kind& k : kinds)
    for (auto& c : cases) {
      if (std::string(c.name) == "norm 1" && k.dtype == DType::f16) continue;  // x / n is rounded
      const Tensor x = to(ones({70, 1000}, k.dtype), device).set_requires_grad(), y = c.f(x);
      EXPECT_NEAR(y.item(), c.value, 2 * c.value * k.unit) << c.name << " in " << name(k.dtype);
      const Tensor g = grad(y, {x}, scalar(up, y))[0];
      for (const double v : {amax(g).item(), amin(g).item()})
        EXPECT_NEAR(v, c.slope, 2 * c.slope * k.unit)
            << "derivative of " << c.name << " in " << name(k.dtype);
    }
  // A row 1, -1, 1, ...: the mean is 0, the derivative of var 2 x / (n - 1), of std x / (n - 1) / std.
  const Tensor signs = to(arange(0, n, 1, DType::i64), DType::f64);
  const Tensor alternating = 1 - 2 * (signs - 2 * to(to(signs / 2, DType::i64), DType::f64));
  for (const Kind& k : kinds) {
    const Tensor x = to(to(alternating, k.dtype), device).detach().set_requires_grad();
    const Tensor v = grad(var(x), {x}, scalar(up, x))[0], s = grad(bobbin::std(x), {x}, scalar(up, x))[0];
    EXPECT_NEAR(amax(v).item(), 2 * up / (n - 1), 2 * share * k.unit) << name(k.dtype);
    EXPECT_NEAR(amin(s).item(), -up / std::sqrt(1.0 * n * (n - 1)), 2 * share * k.unit) << name(k.dtype);
  }
}

inline Values gradient(const Function& f, const Tensor& at) {
  const Tensor x = at.detach().set_requires_grad(), y = f(x);
  return grad(y, {x}, ones_like(y))[0].to_vector<double>();
}

// What a derivative reads is not rounded to the dtype of the result.
inline void expect_derivatives_from_unrounded_numbers(Device device) {
  const auto put = [&](const Tensor& x, DType d) { return to(to(x, d), device); };
  const Tensor pair = tensor({100, 100}, DType::f64);
  for (const Kind& k : kinds)
    for (const double size : {1.0, 500.0, 1e5})  // f16 has no 1e7
      for (const double v : gradient([](auto& x) { return logsumexp(x); }, put(pair * size, k.dtype)))
        EXPECT_NEAR(size < 1e5 || k.dtype != DType::f16 ? v : .5, .5, k.unit) << name(k.dtype) << ' ' << size;
  // Four neighbours in bf16, far from zero, with mean 257.5 or 259: no number of that dtype.
  const Tensor far = tensor({256, 256, 258, 260}, DType::f64);
  const auto near = [&](const Function& f, const Tensor& x, const Kind& k) {
    const Values got = gradient(f, put(x, k.dtype)), want = gradient(f, x);
    for (std::size_t i = 0; i < got.size(); ++i)
      EXPECT_NEAR(got[i], want[i], 2 * k.unit * std::abs(want[i]) + k.least) << name(k.dtype);
  };
  for (const Kind& k : kinds) {
    near([](auto& x) { return var(x); }, far, k);
    near([](auto& x) { return bobbin::std(x); }, far, k);
    near([](auto& x) { return norm(x); }, far, k);
    near([](auto& x) { return norm(x, 3); }, far, k);
    near([](auto& x) { return logsumexp(x); }, far, k);
  }
  // 10000 and steps of its ULP, and a mean between two of them: the derivatives need a centred row.
  Tensor steps = zeros({3, 40}, DType::f64);
  for (std::size_t i = 0; double& v : steps.mutable_data<double>())
    v = 10000 + static_cast<double>(i * i % 23) * 0x1p-10 * static_cast<double>(1 + i / 40), ++i;
  for (const Function& f : {Function([](auto& x) { return var(x, {1}); }),
                            Function([](auto& x) { return bobbin::std(x, {1}); })}) {
    const Orders got = orders(f, put(steps, DType::f32)), want = orders(f, steps);
    expect_scaled(got.value, want.value, 0, {DType::f32, 0x1p-23, 4, 0, 0, 0}, "far from zero");
    expect_scaled(got.first, want.first, 0, {DType::f32, 0x1p-23, 8, 0, 0, 0},
                  "far from zero, first derivative");
    expect_scaled(got.second, want.second, 0, {DType::f32, 0x1p-23, 32, 0, 0, 0},
                  "far from zero, second derivative");
  }
}

// log(1 + e^-d) + the maximum 0: all that is left is the tail.
inline void expect_tails_of_logsumexp(Device device) {
  for (const double d : {1.0, 17.5, 40.0, 80.0, 700.0}) {
    const double want = std::log1p(std::exp(-d));
    for (const DType type : {DType::f64, DType::f32, DType::bf16}) {
      const double unit = type == DType::f64 ? 0x1p-50 : type == DType::f32 ? 0x1p-21 : 0x1p-8;
      if (type != DType::f64 && d > 100) continue;
      for (const bool first : {true, false}) {
        const Tensor x = to(first ? tensor({0, -d}, type) : tensor({-d, 0}, type), device);
        EXPECT_NEAR(logsumexp(x).item(), want, want * unit) << d << " in " << name(type);
        EXPECT_NEAR(gradient([](auto& t) { return logsumexp(t); }, x)[first ? 1 : 0],
                    std::exp(-d) / (1 + std::exp(-d)), std::exp(-d) * unit);
      }
    }
  }
  // Over several axes; a row of -inf has gradient 0, and so has its second derivative.
  constexpr double inf = std::numeric_limits<double>::infinity();
  const Tensor x = to(tensor({{{0.0, -inf}, {-inf, -inf}}, {{0.0, -inf}, {0.0, -inf}}}, DType::f64), device);
  EXPECT_EQ(gradient([](auto& t) { return logsumexp(t, {0, 2}); }, x), (Values{.5, 0, 0, 0, .5, 0, 1, 0}));
  const Tensor rows = to(tensor({{-inf, -inf}, {1, 1}}, DType::f64), device);
  const Orders o = orders([](auto& t) { return logsumexp(t, {1}); }, rows);
  EXPECT_EQ(o.first, (Values{0, 0, .5, .5}));
  EXPECT_EQ(o.second, (Values{0, 0, 1, -1}));  // p (w - p w) with w = 2, -2
}

// Numbers of every magnitude in one row, against a long double that is scaled by the maximum.
inline void expect_norms_of_mixed_magnitudes(Device device) {
  std::mt19937 random(3);
  const auto exact = [](const Values& v, double p) {
    long double most = 0, s = 0;
    for (const double x : v) most = std::max<long double>(most, std::abs(x));
    if (most == 0 || std::isinf(p)) return static_cast<double>(most);
    for (const double x : v) s += std::pow(std::abs(x) / most, static_cast<long double>(p));
    return static_cast<double>(most * std::pow(s, 1 / static_cast<long double>(p)));
  };
  for (const DType type : {DType::f64, DType::f32})
    for (const int span : {0, 8, 100, 600, 1000})
      for (const std::int64_t n : {1, 2, 3, 33, 3000}) {
        const int most = type == DType::f64 ? span : std::min(span, 115);
        Values v;
        for (std::int64_t i = 0; i < n; ++i) {
          const int power = most ? static_cast<int>(random() % static_cast<unsigned>(2 * most)) - most : 0;
          v.push_back(i % 7 == 6 ? 0 : std::ldexp(1 + static_cast<double>(random() % 1024) / 1024, power));
        }
        const Tensor row = to(to(from_range(v), type), device), columns = expand(unsqueeze(row, 1), {n, 20});
        for (const double p :
             {0.5, 1.0, 1.5, 2.0, 3.0, 8.0, 40.0, 1000.0, std::numeric_limits<double>::infinity()}) {
          const double want = exact(v, p);
          if (p < 1 && span > 0 && n > 100) continue;  // n^(1/p) times the maximum leaves the range
          const double error = want * (type == DType::f64 ? 1e-12 : 0x1p-22);
          if (!(want < (type == DType::f64 ? 1e308 : 3e38))) continue;
          EXPECT_NEAR(norm(row, p).item(), want, error)
              << name(type) << " p " << p << " n " << n << " span " << span;
          EXPECT_NEAR(norm(columns, p, {0}).to_vector<double>()[19], want, error)
              << "columns, p " << p << " n " << n;
        }
      }
}

// At the borders between the ranges in which the 2-norm of f64 numbers squares them differently.
inline void expect_norms_across_ranges(Device device) {
  const auto check = [&](const Values& v, double want) {
    EXPECT_NEAR(norm(to(from_range(v), device)).item(), want, want * 1e-15) << v[0] << ' ' << v[1];
  };
  for (const int power : {-1060, -600, -500, -481, -480, -479, 0, 479, 480, 481, 500, 1000, 1020}) {
    const double one = std::ldexp(1.0, power);
    check({3 * one, 4 * one}, 5 * one);
    check({one, 0, one, one, one}, 2 * one);
    check({one, one * 0x1p-3, one * 0x1p3}, std::sqrt(1 + 0x1p-6 + 0x1p6) * one);
  }
  check({3e200, 4e200}, 5e200);
  check({3e-200, 4e-200}, 5e-200);
  constexpr double inf = std::numeric_limits<double>::infinity();
  for (const double p : {0.5, 1.0, 2.0, 3.0, inf}) {
    EXPECT_EQ(norm(to(tensor({1.0, -inf, 0}, DType::f64), device), p).item(), inf);
    EXPECT_EQ(norm(to(tensor({0.0, -0.0}, DType::f64), device), p).item(), 0);
    EXPECT_NEAR(norm(to(tensor({-5.0}, DType::f64), device), p).item(), 5, 1e-14);
    EXPECT_TRUE(
        std::isnan(norm(to(tensor({1e300, std::nan(""), inf, 1e-300}, DType::f64), device), p).item()));
  }
}

// Even functions of a norm are smooth at 0, where the norm is not.
inline void expect_second_derivatives_at_zero(Device device) {
  const Tensor zeros = tensor({{0, 0}, {3, 4}}, DType::f64);
  struct Case {
    const char* name;
    Function f;
    double at_zero;
    Values elsewhere;  // the Hessian of the other row times (2, -2)
  };
  const auto rows = [](const Tensor& x) { return norm(x, 2, {1}); };
  const Case cases[] = {
      {"square", [&](auto& x) { return square(rows(x)); }, 2, {4, -4}},
      {"5 square", [&](auto& x) { return square(rows(x)) * 5; }, 10, {20, -20}},
      {"kept, square", [](auto& x) { return square(norm(x, 2, {1}, true)); }, 2, {4, -4}},
      {"product",
       [&](auto& x) {
         const Tensor y = rows(x);
         return y * y;
       },
       2,
       {4, -4}},
      {"power", [&](auto& x) { return pow(rows(x), 2); }, 2, {4, -4}},
      {"fourth power", [&](auto& x) { return square(square(rows(x))); }, 0, {152, -264}},
  };
  for (const Kind& k : kinds)
    for (auto& c : cases) {
      const Orders o = orders(c.f, to(to(zeros, k.dtype), device));
      EXPECT_EQ((Values{o.first[0], o.first[1]}), (Values{0, 0})) << c.name << " in " << name(k.dtype);
      EXPECT_NEAR(o.second[0], c.at_zero, k.unit * 8) << c.name << " in " << name(k.dtype);
      EXPECT_NEAR(o.second[1], -c.at_zero, k.unit * 8) << c.name << " in " << name(k.dtype);
      for (const std::size_t i : {0, 1})
        EXPECT_NEAR(o.second[2 + i], c.elsewhere[i], 64 * k.unit * std::abs(c.elsewhere[i]))
            << c.name << " in " << name(k.dtype);
    }
}

inline void expect_one_rule_for_nan(Device device) {
  constexpr double inf = std::numeric_limits<double>::infinity(),
                   nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor x = to(tensor({{inf, nan, 1, nan}, {3, 3, 1, -inf}}, DType::f64), device);
  using Extreme = Tensor (*)(const Tensor&, const Axes&, bool);
  for (const Extreme f : {Extreme(amax), Extreme(amin)})
    EXPECT_EQ(gradient([f](auto& t) { return f(t, {1}, false); }, x),
              f == Extreme(amax) ? (Values{0, .5, 0, .5, .5, .5, 0, 0}) : (Values{0, .5, 0, .5, 0, 0, 0, 1}));
  EXPECT_EQ(gradient([](auto& t) { return max(t, {1}); }, x), (Values{0, 1, 0, 0, 1, 0, 0, 0}));
  const Values g = gradient([](auto& t) { return norm(t, inf, {1}); }, x);
  EXPECT_TRUE(std::isnan(g[1]) && std::isnan(g[3]));
  EXPECT_EQ((Values{g[0], g[2], g[4], g[5], g[6], g[7]}), (Values{0, 0, 0, 0, 0, -1}));
  // A window of max_pool2d, whose first NaN gets the gradient.
  const Tensor image = to(tensor({{{{1.0, inf, 7}, {nan, nan, 9}}}}, DType::f64), device);
  EXPECT_TRUE(std::isnan(max_pool2d(image, {2, 3}).item()));
  EXPECT_EQ(gradient([](auto& t) { return max_pool2d(t, {2, 3}); }, image), (Values{0, 0, 0, 1, 0, 0}));
  // The sign and the payload of a NaN do not reach the result, wherever it is.
  for (const std::int64_t n : {1, 5, 40, 3000})
    for (const std::int64_t at : {std::int64_t{0}, n / 2, n - 1}) {
      Tensor row = zeros({n, 2});
      row.mutable_data<float>()[static_cast<std::size_t>(2 * at)] = std::bit_cast<float>(0xffc12345);
      for (const Extreme f : {Extreme(max), Extreme(min), Extreme(amax), Extreme(amin)}) {
        const auto y = f(to(row, device), {0}, false).to_vector<float>();
        EXPECT_EQ(std::bit_cast<std::uint32_t>(y[0]), 0x7fc00000U) << n << ", at " << at;
        EXPECT_EQ(y[1], 0);
      }
      EXPECT_EQ(argmax(to(row, device), 0).to_vector<std::int64_t>()[0], at);
      EXPECT_EQ(argmin(to(row, device), 0).to_vector<std::int64_t>()[0], at);
    }
}

}  // namespace bobbin::test
