// Losses at the edges: tails, infinities, more rows than a 16-bit type counts, and labels that do not count;
// against closed forms in long double.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "tests/ops/expect_relative.h"

using namespace bobbin;

namespace {

constexpr DType floating[] = {DType::f64, DType::f32, DType::f16, DType::bf16};
constexpr long double inf = std::numeric_limits<long double>::infinity();

// For logits [a, 0] and label 0: the loss is log(1 + e^-a), and the gradient [-q, q] with q = 1 / (1 + e^a).
TEST(CrossEntropyTails, TwoClassesFollowTheClosedForms) {
  for (const DType t : {DType::f64, DType::f32})
    for (const double a : {2.0, 10.0, 17.5, 37.5, 80.0, 300.0, 700.0}) {
      if (t == DType::f32 && a > 80) continue;
      const long double e = std::exp(-static_cast<long double>(a)), q = e / (1 + e), s = q * (1 - q);
      const Tensor x = tensor({{a, 0}}, t).set_requires_grad(), label = tensor({0}, DType::i64);
      const Tensor one_hot = tensor({{1, 0}}, t), weight = tensor({3, .5}, t);
      const std::string what = std::string(name(t)) + " [" + std::to_string(a) + ", 0]";
      const auto check = [&](const auto& f, const char* kind) {
        const Tensor loss = f(), first = grad(f(), {x}, {}, CreateGraph::yes)[0];
        expect_relative(loss, {std::log1p(e)}, 16, what + kind);
        expect_relative(first, {-q, q}, 16, what + kind + ", first order");
        expect_relative(grad(select(reshape(first, {2}), 0, 0), {x})[0], {s, -s}, 64,
                        what + kind + ", second order");
      };
      check([&] { return cross_entropy(x, label); }, " of an index");
      check([&] { return cross_entropy(x, one_hot); }, " of probabilities");
      check([&] { return cross_entropy(x, label, {.weight = weight}); }, " of a weighted index");
      check([&] { return nll_loss(log_softmax(x, 1), label); }, " by nll_loss");
    }
}

// With smoothing s and C classes, the gradient at the label is s (C - 1) / C less the other probabilities,
// and with targets t it is their sum but for the label's, less the other probabilities.
TEST(CrossEntropyTails, SmoothedAndDenseTargetsKeepTheirDigits) {
  manual_seed(5);
  for (const DType t : floating)
    for (const std::int64_t n : {2, 10, 300, 3000})
      for (const double gap : {12.0, 25.0}) {
        const std::int64_t m = n / 3;
        Tensor x = to(uniform({1, n}, -gap - 1, -gap, DType::f64), t);
        narrow(x, 1, m, 1).fill_(0);
        x.set_requires_grad();
        long double total = 0, rest = 0;
        const auto xs = x.to_vector<double>();
        for (const double v : xs) total += std::exp(static_cast<long double>(v));
        for (std::size_t j = 0; j < xs.size(); ++j)
          if (j != static_cast<std::size_t>(m)) rest += std::exp(static_cast<long double>(xs[j])) / total;
        const std::string what =
            std::string(name(t)) + " " + std::to_string(n) + " at " + std::to_string(gap);
        const auto at_m = [&](const Tensor& loss) { return grad(loss, {x})[0].at({0, m}); };
        const auto expect = [&](double got, long double want, long double size, const char* kind) {
          EXPECT_NEAR(got, static_cast<double>(want),
                      static_cast<double>(32 * unit_roundoff(t) * size) + smallest(t))
              << what << kind;
        };
        const Tensor label = tensor({static_cast<double>(m)}, DType::i64);
        expect(at_m(cross_entropy(x, label)), -rest, rest, " index");
        // 1e-12 is far below the rounding of 1 - 1e-12.
        for (const double s : {0.1, 1e-6, 1e-12}) {
          const long double others = s * static_cast<long double>(n - 1) / static_cast<long double>(n);
          expect(at_m(cross_entropy(x, label, {.label_smoothing = s})), others - rest, others + rest,
                 " smoothed");
        }
        Tensor target = full({1, n}, 0x1p-20 / static_cast<double>(n), t);
        narrow(target, 1, m, 1).fill_(1);
        const long double each = target.at({0, m == 0 ? 1 : 0}),
                          others = each * static_cast<long double>(n - 1);
        expect(at_m(cross_entropy(x, target)), others - (1 + others) * rest, others + rest, " dense");
      }
}

TEST(CrossEntropyTails, GradientsOfRowsSumToZero) {
  const Tensor x = (randn({20, 7}, DType::f64) * 20).set_requires_grad(), label = randint(0, 7, {20});
  const Tensor d = grad(cross_entropy(x, label, {.reduction = Reduction::sum}), {x})[0];
  const auto sums = sum(d, {1}).to_vector<double>(), sizes = amax(abs(d), {1}).to_vector<double>();
  for (std::size_t r = 0; r < sums.size(); ++r) EXPECT_LE(std::abs(sums[r]), 1e-14 * sizes[r]) << r;
}

// f16 has no number above 65504, and bf16 no integer above 256: counts are f32.
TEST(LossCounts, MoreRowsThanA16BitTypeCounts) {
  constexpr std::int64_t n = 70000;
  for (const DType t : {DType::f16, DType::bf16}) {
    const Tensor label = zeros({n}, DType::i64), zero = zeros({n}, t);
    const auto check = [&](const Tensor& x, const Tensor& loss, double value, double slope,
                           const char* what) {
      EXPECT_NEAR(loss.item(), value, 4 * unit_roundoff(t) * std::abs(value)) << what << name(t);
      EXPECT_NEAR(grad(loss, {x})[0].to_vector<double>()[0], slope,
                  4 * unit_roundoff(t) * std::abs(slope) + smallest(t))
          << what << name(t);
    };
    const Tensor x = full({n}, 100, t).set_requires_grad(), small = full({n}, .5, t).set_requires_grad();
    check(x, mse_loss(x, zero), 1e4, 200.0 / n, "mse_loss ");
    check(x, l1_loss(x, zero), 100, 1.0 / n, "l1_loss ");
    check(x, huber_loss(x, zero, 8), 8 * 96, 8.0 / n, "huber_loss ");
    check(small, binary_cross_entropy_with_logits(small, zero), std::log1p(std::exp(.5)),
          1 / (1 + std::exp(-.5)) / n, "binary_cross_entropy_with_logits ");
    check(small, kl_div(small, full({n}, .25, t)), .25 * (std::log(.25) - .5), -.25 / n, "kl_div ");
    const Tensor log_p = full({n, 2}, -2, t).set_requires_grad(),
                 logits = zeros({n, 2}, t).set_requires_grad();
    check(log_p, nll_loss(log_p, label), 2, -1.0 / n, "nll_loss ");
    check(log_p, nll_loss(log_p, label, {.weight = full({2}, 3, t)}), 2, -1.0 / n, "weighted nll_loss ");
    check(logits, cross_entropy(logits, label), std::log(2), -.5 / n, "cross_entropy ");
    check(logits, cross_entropy(logits, full({n, 2}, .5, t)), std::log(2), 0,
          "cross_entropy of probabilities ");
    // Second order: x -> (p - 1)^2 / n^2, of a mean over n rows.
    const Tensor d = grad(cross_entropy(logits, label) * 1024, {logits}, {}, CreateGraph::yes)[0];
    EXPECT_NEAR(
        grad(sum(d * 0 + d * logits.detach()), {logits}, {}, CreateGraph::no, Retain::yes)[0].at({0, 0}), 0,
        1e-7);
    EXPECT_NEAR(grad(select(reshape(d, {-1}), 0, 0), {logits})[0].at({0, 0}), 256.0 / n,
                4 * unit_roundoff(t) * 256 / n);
  }
}

// Squares of elements leave f16, their mean does not.
TEST(LossRange, OnlyTheMeanHasToFit) {
  constexpr std::int64_t n = 4096;
  Tensor x = zeros({n}, DType::f16), t = zeros({n}, DType::f16);
  narrow(x, 0, 0, 1).fill_(4000);
  x.set_requires_grad();
  const Tensor loss = mse_loss(x, t);
  EXPECT_NEAR(loss.item(), 16e6 / n, 16e6 / n * 0x1p-11);
  EXPECT_NEAR(grad(loss, {x})[0].at({0}), 8000.0 / n, 8000.0 / n * 0x1p-11);
  const Tensor huber = huber_loss(x, t, 100);
  EXPECT_NEAR(huber.item(), 100 * 3950.0 / n, .1);
  // The difference of the operands leaves f16, and 1/n of the gradient brings it back.
  const Tensor far = full({4}, 60000, DType::f16).set_requires_grad(), to_far = full({4}, -60000, DType::f16);
  EXPECT_EQ(grad(mse_loss(far, to_far), {far})[0].at({0}), 60000);
  EXPECT_EQ(grad(mse_loss(far, to_far, Reduction::none), {far}, full({4}, .25, DType::f16))[0].at({0}),
            60000);
  EXPECT_EQ(grad(l1_loss(far, to_far), {far})[0].at({0}), .25);
  EXPECT_EQ(l1_loss(far, to_far).item(), std::numeric_limits<double>::infinity());
}

// A term of weight 0 is 0, whatever it is multiplied with.
TEST(LossLimits, TermsOfWeightZeroAddNothing) {
  for (const DType t : floating) {
    const auto one = [&](long double v) { return full({1}, static_cast<double>(v), t); };
    const auto value = [&](auto f, long double x, long double y) {
      return f(one(x), one(y), Reduction::none).item();
    };
    const auto slope = [&](auto f, long double x, long double y) {
      const Tensor in = one(x).set_requires_grad();
      return grad(f(in, one(y), Reduction::sum), {in})[0].item();
    };
    EXPECT_EQ(value(kl_div, -inf, 0), 0);
    EXPECT_EQ(slope(kl_div, -inf, 0), 0);
    EXPECT_EQ(value(kl_div, -inf, .5), static_cast<double>(inf));
    EXPECT_TRUE(std::isnan(value(kl_div, NAN, 0)));
    const auto bce = binary_cross_entropy_with_logits;
    EXPECT_EQ(value(bce, inf, 1), 0);
    EXPECT_EQ(value(bce, -inf, 0), 0);
    EXPECT_EQ(value(bce, inf, 0), static_cast<double>(inf));
    EXPECT_EQ(value(bce, -inf, 1), static_cast<double>(inf));
    EXPECT_EQ(value(bce, inf, .5), static_cast<double>(inf));
    EXPECT_TRUE(std::isnan(value(bce, NAN, 0)));
    EXPECT_TRUE(std::isnan(value(bce, NAN, 1)));
    EXPECT_EQ(slope(bce, inf, 1), 0);
    EXPECT_EQ(slope(bce, -inf, 0), 0);
    EXPECT_EQ(slope(bce, inf, 0), 1);
    EXPECT_EQ(slope(bce, -inf, 1), -1);
    const Tensor log_p = tensor({{0, static_cast<double>(-inf)}, {-1, -1}}, t).set_requires_grad();
    const Tensor label = tensor({1, 0}, DType::i64), weight = tensor({1, 0}, t);
    const Tensor nll = nll_loss(log_p, label, {.weight = weight});
    EXPECT_EQ(nll.item(), 1);
    expect_relative(reshape(grad(nll, {log_p})[0], {4}), {0, 0, -1, 0}, 1, "nll_loss");
    const Tensor x = tensor({{0, static_cast<double>(-inf)}}, t).set_requires_grad();
    EXPECT_EQ(cross_entropy(x, tensor({0}, DType::i64)).item(), 0);
    expect_relative(reshape(grad(cross_entropy(x, tensor({0}, DType::i64)), {x})[0], {2}), {0, 0}, 1,
                    "cross_entropy");
    EXPECT_EQ(cross_entropy(x, tensor({1}, DType::i64)).item(), static_cast<double>(inf));
  }
}

// With logit x and target 1, the loss is log(1 + e^-x) and its derivatives are -s and s (1 - s), s = 1 / (1 +
// e^x).
TEST(LossTails, BinaryCrossEntropyKeepsItsDigits) {
  for (const DType t : {DType::f64, DType::f32})
    for (const double a : {1.0, 17.5, 37.5, 80.0})
      for (const bool positive : {true, false}) {
        const long double e = std::exp(-static_cast<long double>(a)), s = e / (1 + e),
                          sign = positive ? -1 : 1;
        const Tensor x = full({1}, positive ? a : -a, t).set_requires_grad(),
                     target = full({1}, positive ? 1 : 0, t);
        const Tensor loss = binary_cross_entropy_with_logits(x, target);
        const std::string what = std::string(name(t)) + " " + std::to_string(a);
        expect_relative(loss, {std::log1p(e)}, 8, what);
        expect_relative(grad(loss, {x})[0], {sign * s}, 16, what + ", first order");
      }
}

TEST(Labels, IgnoredAndBadOnes) {
  constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min(),
                         most = std::numeric_limits<std::int64_t>::max();
  const Tensor x = (randn({2, 3}, DType::f64)).set_requires_grad();
  const auto labels = [](std::int64_t a, std::int64_t b) {
    return from_range(std::vector<std::int64_t>{a, b});
  };
  for (const auto loss : {cross_entropy, nll_loss}) {
    for (const std::int64_t none : {std::int64_t{-100}, std::int64_t{-1}, std::int64_t{2}, std::int64_t{255},
                                    (std::int64_t{1} << 53) + 1, least, most}) {
      const double one = loss(narrow(x, 0, 0, 1), tensor({1}, DType::i64), {}).item();
      EXPECT_EQ(loss(x, labels(1, none), {.ignore_index = none}).item(), one) << none;
      // The mean of no rows is NaN, their sum is 0, and the gradient is 0.
      for (const Reduction r : {Reduction::mean, Reduction::sum}) {
        const Tensor y = loss(x, labels(none, none), {.ignore_index = none, .reduction = r});
        EXPECT_TRUE(r == Reduction::sum ? y.item() == 0 : std::isnan(y.item()));
        for (const double v : grad(y, {x})[0].to_vector<double>()) EXPECT_EQ(v, 0);
      }
    }
    for (const std::int64_t bad :
         {std::int64_t{3}, std::int64_t{-1}, std::int64_t{-100}, (std::int64_t{1} << 53) + 2, least, most})
      EXPECT_THROW(loss(x, labels(0, bad), {.ignore_index = (std::int64_t{1} << 53) + 1}), IndexError) << bad;
    EXPECT_TRUE(std::isnan(loss(zeros({0, 3}), zeros({0}, DType::i64), {}).item()));
    EXPECT_TRUE(std::isnan(loss(zeros({0, 0}), zeros({0}, DType::i64), {}).item()));
    for (const Reduction r : {Reduction::none, Reduction::mean, Reduction::sum})
      EXPECT_THROW(loss(zeros({2, 0}), labels(0, -100), {.reduction = r}), ShapeError);
  }
}

// NaN logits of an ignored row reach no gradient, in no order.
TEST(Labels, IgnoredRowsOfNaNHaveNoGradientInBothOrders) {
  const Tensor x = tensor({{NAN, 1}, {1, 2}}, DType::f64).set_requires_grad();
  const Tensor h = tensor({{1, 2}, {3, 5}}, DType::f64), label = tensor({-100, 0}, DType::i64);
  for (const double smoothing : {0.0, .1}) {
    const Tensor d =
        grad(cross_entropy(x, label, {.label_smoothing = smoothing}), {x}, {}, CreateGraph::yes)[0];
    const auto first = d.to_vector<double>(), second = grad(d, {x}, h)[0].to_vector<double>();
    const double p = 1 / (1 + std::exp(1.0)), s = p * (1 - p) * (3 - 5);
    EXPECT_TRUE(first[0] == 0 && first[1] == 0 && second[0] == 0 && second[1] == 0);
    EXPECT_NEAR(second[2], s, 1e-15);
    EXPECT_NEAR(second[3], -s, 1e-15);
  }
}

}  // namespace
