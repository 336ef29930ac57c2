// The softmax family in the tails: derivatives of both orders keep their relative accuracy where one
// probability is next to 1, against closed forms in long double.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "tests/ops/expect_relative.h"

using namespace bobbin;

namespace {

constexpr DType floating[] = {DType::f64, DType::f32, DType::f16, DType::bf16};

// The first of [y[0], y[1]]'s derivative for x[0], and from it the second derivative.
Tensor second(const Tensor& y, const Tensor& x, const Tensor& cotangent = {}) {
  return grad(select(grad(y, {x}, cotangent, CreateGraph::yes)[0], 0, 0), {x})[0];
}

// For logits [a, 0], q = 1 / (1 + e^a) is the second probability.
TEST(SoftmaxTails, TwoClassesFollowTheClosedForms) {
  for (const DType t : {DType::f64, DType::f32})
    for (const double a : {2.0, 10.0, 17.5, 37.5, 80.0, 300.0, 700.0}) {
      if (t == DType::f32 && a > 80) continue;
      const long double e = std::exp(-static_cast<long double>(a)), q = e / (1 + e), s = q * (1 - q);
      const Tensor x = tensor({a, 0}, t).set_requires_grad(), g = tensor({1, 0}, t),
                   all = tensor({1, 1}, DType::boolean);
      const std::string what = std::string(name(t)) + " [" + std::to_string(a) + ", 0]";
      expect_relative(log_softmax(x), {-std::log1p(e), -a - std::log1p(e)}, 8, "log_softmax " + what);
      expect_relative(grad(softmax(x), {x}, g)[0], {s, -s}, 16, "softmax' " + what);
      expect_relative(grad(masked_softmax(x, all), {x}, g)[0], {s, -s}, 16, "masked_softmax' " + what);
      expect_relative(grad(log_softmax(x), {x}, g)[0], {q, -q}, 16, "log_softmax' " + what);
      expect_relative(second(softmax(x), x, g), {-s * (1 - 2 * q), s * (1 - 2 * q)}, 64, "softmax'' " + what);
      expect_relative(second(masked_softmax(x, all), x, g), {-s * (1 - 2 * q), s * (1 - 2 * q)}, 64,
                      "masked_softmax'' " + what);
      expect_relative(second(log_softmax(x), x, g), {-s, s}, 64, "log_softmax'' " + what);
    }
}

// The derivative of log_softmax_backward for dO, [q, q - 1] for logits [a, 0] and H = [1, 0].
TEST(SoftmaxTails, LogSoftmaxBackwardKeepsTheDigitsOfItsOwnDerivative) {
  for (const double a : {2.0, 17.5, 37.5, 300.0}) {
    const long double e = std::exp(-static_cast<long double>(a)), q = e / (1 + e);
    const Tensor o = log_softmax(tensor({a, 0}, DType::f64)), g = zeros({2}, DType::f64).set_requires_grad();
    const Tensor h = tensor({1, 0}, DType::f64);
    expect_relative(grad(log_softmax_backward(o, g), {g}, h)[0], {q, q - 1}, 16, std::to_string(a));
  }
}

// Rows that fit a vector, that are computed in groups, and longer ones; every dtype; both layouts. The result
// at the element next to 1 is the sum over the others of p[j] (g[m] - g[j]).
TEST(SoftmaxTails, RowsOfEveryLengthFollowTheDefinition) {
  manual_seed(4);
  for (const DType t : floating)
    for (const std::int64_t n : {2, 3, 17, 100, 256, 257, 3000})
      for (const double gap : {10.0, 20.0, 40.0}) {
        const std::int64_t m = n / 2;
        const Tensor x = to(uniform({n}, -gap - 1, -gap, DType::f64), t), g = to(randn({n}, DType::f64), t);
        narrow(x, 0, m, 1).fill_(0);
        const auto xs = x.to_vector<double>(), gs = g.to_vector<double>();
        const auto at = static_cast<std::size_t>(m);
        long double total = 0, exact = 0, size = 0;
        for (const double v : xs) total += std::exp(static_cast<long double>(v));
        for (std::size_t j = 0; j < xs.size(); ++j) {
          const long double p = std::exp(static_cast<long double>(xs[j])) / total;
          exact += p * (gs[at] - gs[j]);
          size += p * std::abs(gs[at] - gs[j]);
        }
        const std::string what =
            std::string(name(t)) + " " + std::to_string(n) + " at " + std::to_string(gap);
        // Probabilities of f16 below 2^-24 are 0, so each may be off by half of that.
        const long double slack = 16 * unit_roundoff(t) * size + (n + 1) * 8 * smallest(t);
        const auto check = [&](const Tensor& dx, const char* layout) {
          EXPECT_NEAR(dx.at({m}), static_cast<double>(exact / total), static_cast<double>(slack))
              << what << layout;
        };
        check(softmax_backward(softmax(x), g), " contiguous");
        const auto column = [](const Tensor& v) { return contiguous(transpose(expand(v, {3, v.size(0)}))); };
        check(select(softmax_backward(softmax(column(x), 0), column(g), 0), 1, 1), " along the first axis");
      }
}

TEST(SoftmaxTails, ShiftOfTheCotangentChangesNothing) {
  const Tensor o = softmax(tensor({30, 0, 1}, DType::f64)), g = tensor({0, 1, -1}, DType::f64);
  const auto d = softmax_backward(o, g).to_vector<double>(),
             far = softmax_backward(o, g + 1024).to_vector<double>();
  for (std::size_t i = 0; i < d.size(); ++i) EXPECT_NEAR(far[i], d[i], 1e-12 * std::abs(d[i])) << i;
}

// Equal probabilities round to a little more than 1/2 in some kernels: none of them dominates.
TEST(SoftmaxTails, TwoEqualProbabilitiesShareTheGradient) {
  for (const DType t : floating)
    for (int i = 0; i < 200; ++i) {
      const Tensor o = softmax(full({2}, i * 0.37 - 30, t));
      EXPECT_NEAR(softmax_backward(o, tensor({1, 0}, t)).at({0}), .25, 2 * unit_roundoff(t)) << i;
    }
}

TEST(SoftmaxTails, ARowOfOneElementHasNoGradient) {
  for (const DType t : floating) {
    const Tensor x = full({3, 1}, 5, t).set_requires_grad(), g = full({3, 1}, 1e4, t);
    for (const Tensor& y : {softmax(x, 1), log_softmax(x, 1)}) {
      const Tensor d = grad(y, {x}, g, CreateGraph::yes)[0];
      for (const double v : d.to_vector<double>()) EXPECT_EQ(v, 0);
      for (const double v : grad(sum(d), {x})[0].to_vector<double>()) EXPECT_EQ(v, 0);
    }
  }
}

// The error of the sum is that of every element. Rows of up to 256 elements are summed in f32 to the end,
// longer ones in double after 32 partial sums.
TEST(Softmax, RandomRowsOfHundredsStayWithinTheBound) {
  manual_seed(23);
  for (const std::int64_t n : {100, 256, 257, 300, 500})
    for (const double scale : {1.0, 3.0, 10.0}) {
      const std::int64_t rows = 100000 / n;
      const Tensor x = randn({rows, n}) * scale, y = softmax(x);
      const auto xs = x.to_vector<float>(), ys = y.to_vector<float>();
      double worst = 0;
      for (auto row = xs.begin(); row != xs.end(); row += n) {
        const double most = *std::max_element(row, row + n);
        std::vector<double> e;
        double total = 0;
        for (auto v = row; v != row + n; ++v) total += e.emplace_back(std::exp(*v - most));
        for (std::size_t i = 0; i < e.size(); ++i) {
          const double exact = e[i] / total, got = ys[static_cast<std::size_t>(row - xs.begin()) + i];
          if (exact > 1e-37)
            worst = std::max(worst, std::abs(got - exact) / std::ldexp(1.0, std::ilogb(exact) - 23));
        }
      }
      EXPECT_LT(worst, n <= 256 ? 7 : 4.5) << n << " at " << scale;
    }
}

TEST(Softmax, AScalarHasOneAxis) {
  const Tensor x = full({}, 3, DType::f64);
  for (const int axis : {0, -1}) EXPECT_EQ(softmax(x, axis).item(), 1);
  for (const int axis : {1, -2, 7}) {
    EXPECT_THROW(softmax(x, axis), ShapeError);
    EXPECT_THROW(log_softmax(x, axis), ShapeError);
    EXPECT_THROW(softmax_backward(x, x, axis), ShapeError);
    EXPECT_THROW(log_softmax_backward(x, x, axis), ShapeError);
  }
}

}  // namespace
