// Every function of one number at the edges of its range, in every floating dtype: value, first and second
// derivative against closed forms in long double, in units in the last place.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/ops/closed_forms.h"

using namespace bobbin;
using namespace bobbin::tests;

namespace {

using Real = long double;
constexpr DType floating[] = {DType::f64, DType::f32, DType::bf16, DType::f16};

TEST(ElementwiseEdges, ValuesAndDerivativesAreThoseOfTheClosedForms) {
  closed_forms::expect_values_and_derivatives(Device::cpu());
}
TEST(ElementwiseEdges, NoStepOfADerivativeLeavesTheRange) {
  closed_forms::expect_scaled_derivatives(Device::cpu());
}

// Gradients, numerators and denominators of all sizes, where the quotient and the gradient are normal
// numbers.
TEST(ElementwiseEdges, TheDerivativesOfAQuotientLeaveTheRangeOnlyWithIt) {
  int compared = 0;
  for (const DType d : floating) {
    const Format range = format(d);
    std::vector<double> g, a, b;
    const auto sizes = {range.least, range.least / 2 + 1, -3, 0, 3, range.most() / 2, range.most()};
    for (const int i : sizes)
      for (const int j : sizes)
        for (const int l : sizes) {
          if (j - l < range.least || j - l > range.most()) continue;
          g.push_back(std::ldexp(1.25, i)), a.push_back(-std::ldexp(1.5, j)),
              b.push_back(std::ldexp(1.75, l));
        }
    const auto in = [d](const std::vector<double>& v) { return to(from_range(v), d); };
    const Tensor x = in(a).set_requires_grad(), y = in(b).set_requires_grad();
    const auto grads = grad(x / y, {x, y}, in(g));
    const auto da = grads[0].to_vector<double>(), db = grads[1].to_vector<double>();
    for (std::size_t i = 0; i < g.size(); ++i) {
      const Real want_a = Real(g[i]) / b[i], want_b = -Real(g[i]) * a[i] / b[i] / b[i];
      EXPECT_LE(ulps_apart(da[i], want_a, d), 1) << g[i] << ' ' << a[i] << ' ' << b[i] << ' ' << name(d);
      EXPECT_LE(ulps_apart(db[i], want_b, d), 3) << g[i] << ' ' << a[i] << ' ' << b[i] << ' ' << name(d);
      ++compared;
    }
  }
  EXPECT_GT(compared, 500);
}

double slope(const Tensor& y, const Tensor& x) { return grad(y, {x})[0].item(); }

TEST(ElementwiseEdges, QuotientsOfTheIssue) {
  for (const double v : {1e20, 1e-30}) {
    const Tensor a = tensor(v), b = tensor(v).set_requires_grad();
    EXPECT_NEAR(slope(a / b, b) * v, -1, 1e-6) << v;
  }
}

// d^n/da^n a^n is n!, and higher ones are 0, also at a = 0; by the exponent, the derivative there is 0.
TEST(ElementwiseEdges, PowersOfZero) {
  for (const DType d : floating)
    for (int n = 0; n <= 3; ++n) {
      const Tensor a = tensor(0, d).set_requires_grad(), b = tensor(n, d).set_requires_grad();
      Tensor y = pow(a, b);
      EXPECT_EQ(grad(y, {b}, {}, CreateGraph::yes)[0].item(), 0) << n;
      double want = 1;
      for (int order = 1; order <= 4; ++order) {
        y = grad(y, {a}, {}, CreateGraph::yes)[0];
        want *= n - order + 1;
        EXPECT_EQ(y.item(), order == n ? want : 0) << "order " << order << " of 0^" << n << " in " << name(d);
      }
    }
}

TEST(ElementwiseEdges, PowersOfTensorsAsThoseOfNumbers) {
  for (const DType d : floating)
    for (const double e : {0., 0.5, 1., 2., 3., -1., -2.}) {
      const auto at = closed_forms::points(d);
      const Tensor x = to(from_range(at), d).set_requires_grad();
      const auto want = grad(pow(x, e), {x}, ones_like(x))[0].to_vector<double>();
      const auto got = grad(pow(x, full({1}, e, d)), {x}, ones_like(x))[0].to_vector<double>();
      for (std::size_t i = 0; i < at.size(); ++i)
        EXPECT_TRUE(got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i])))
            << at[i] << '^' << e << ": " << got[i] << ", not " << want[i];
    }
}

// A NaN wins over numbers, and takes the gradient; of two NaNs each takes half.
TEST(ElementwiseEdges, MaximumAndMinimumPassTheGradientToTheNaN) {
  for (auto* f : {&maximum, &minimum})
    for (const DType d : floating) {
      const double n = std::numeric_limits<double>::quiet_NaN();
      const Tensor a = tensor({n, 1, n}, d).set_requires_grad(), b = tensor({1, n, n}, d).set_requires_grad();
      const Tensor y = f(a, b);
      for (const double v : y.to_vector<double>()) EXPECT_TRUE(std::isnan(v));
      const auto g = grad(y, {a, b}, ones_like(y));
      EXPECT_EQ(g[0].to_vector<double>(), (std::vector<double>{1, 0, 0.5}));
      EXPECT_EQ(g[1].to_vector<double>(), (std::vector<double>{0, 1, 0.5}));
    }
}

// What layers compute themselves, far out on either side: no NaN, and the slope of the function.
TEST(ElementwiseEdges, ActivationsOfLayersHaveFiniteGradients) {
  for (const Activation a :
       {Activation::relu, Activation::gelu, Activation::tanh, Activation::sigmoid, Activation::silu})
    for (const DType d : floating)
      for (const double v : {1000., -1000., 60000., -60000.}) {
        const Tensor x = full({1, 1}, v, d).set_requires_grad(), w = ones({1, 1}, d);
        const Tensor first = grad(linear(x, w, {}, a), {x}, ones({1, 1}, d), CreateGraph::yes)[0];
        const bool linear_side = v > 0 && a != Activation::tanh && a != Activation::sigmoid;
        EXPECT_EQ(first.item(), linear_side ? 1 : 0) << static_cast<int>(a) << ' ' << v << ' ' << name(d);
        if (first.requires_grad()) {
          EXPECT_EQ(slope(reshape(first, {}), x), 0) << static_cast<int>(a) << ' ' << v << ' ' << name(d);
        }
      }
}

}  // namespace
