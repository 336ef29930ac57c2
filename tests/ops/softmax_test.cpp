// Softmax and log-softmax: error bounds, special values, layouts, and results that do not depend on
// neighbouring rows.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

using namespace bobbin;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();

void expect_digits(const Tensor& t, const std::vector<double>& expected) {
  const auto got = t.to_vector<double>();
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 5e-5) << i;
}

// Distance in units of the last place of a float, measured at the exact value.
double ulps(float got, double exact) {
  if (std::isnan(got) && std::isnan(exact)) return 0;
  const int exponent = std::max(std::ilogb(exact == 0 ? 0x1p-149 : exact), -126);
  return std::abs(static_cast<double>(got) - exact) / std::ldexp(1.0, exponent - 23);
}

std::vector<double> exact_log_softmax(const std::vector<float>& x) {
  const double m = *std::max_element(x.begin(), x.end());
  long double rest = 0;
  bool skipped = false;
  for (float v : x) {
    if (v == m && !skipped)
      skipped = true;
    else
      rest += std::exp(static_cast<long double>(v) - m);
  }
  std::vector<double> y;
  for (float v : x) y.push_back(static_cast<double>(static_cast<long double>(v) - m - std::log1p(rest)));
  return y;
}

TEST(Softmax, WorkedExample) {
  const Tensor x = tensor({{1, 2, 3}, {1, 3, 5}}).set_requires_grad();
  const Tensor o = softmax(x);
  expect_digits(o, {.0900, .2447, .6652, .0159, .1173, .8668});
  const Tensor d_o = tensor({{.1, .2, .7}, {.2, .3, .5}});
  expect_digits(sum(o.detach() * d_o, {1}), {.5236, .4718});
  backward(o, d_o);
  expect_digits(x.grad(), {-.0381, -.0792, .1173, -.0043, -.0202, .0245});
}

TEST(Softmax, StaysWithinTheUlpBounds) {
  manual_seed(7);
  double worst_softmax = 0, worst_log = 0;
  for (const double scale : {1.0, 10.0, 30.0})
    for (const std::int64_t width : {2, 3, 10, 17, 100, 513, 1000})
      for (int trial = 0; trial < 20; ++trial) {
        const Tensor x = randn({width}) * scale;
        const auto row = x.to_vector<float>();
        const auto exact = exact_log_softmax(row);
        const auto p = softmax(x, 0).to_vector<float>(), l = log_softmax(x, 0).to_vector<float>();
        for (std::size_t i = 0; i < row.size(); ++i) {
          worst_softmax = std::max(
              worst_softmax, ulps(p[i], static_cast<double>(std::exp(static_cast<long double>(exact[i])))));
          worst_log = std::max(worst_log, ulps(l[i], exact[i]));
        }
      }
  RecordProperty("softmax_ulp", std::to_string(worst_softmax));
  RecordProperty("log_softmax_ulp", std::to_string(worst_log));
  std::printf("largest error: softmax %.2f ULP, log_softmax %.2f ULP\n", worst_softmax, worst_log);
  EXPECT_LE(worst_softmax, 8);
  EXPECT_LE(worst_log, 4);
}

// Rows whose elements rise, fall, are far from 0, or hidden: next to each other.
Tensor rows_of_all_kinds(std::int64_t n) {
  const Tensor x = randn({24, n}) * 3, ramp = linspace(0, 1, n);
  const auto add = [&](std::int64_t row, const Tensor& t) {
    Tensor place = narrow(x, 0, row, 1);
    place.copy_(clone(place) + t);
  };
  add(1, tensor(5000));
  add(2, tensor(-2e6));
  add(3, ramp * 300);
  add(4, ramp * -300);
  add(5, ramp * 5000);
  add(6, ramp * 1e4 - 5000);
  add(7, where(ramp < .7, tensor(-inf), tensor(0)));
  add(8, where(ramp > .3, tensor(-inf), tensor(0)));
  add(9, where(ramp < .7, tensor(-1e9), tensor(0)));
  add(10, where(ramp < .99, tensor(0), tensor(200)));
  add(11, where(ramp < .99, tensor(0), tensor(39.9)));
  add(12, where(ramp < .99, tensor(1000), tensor(1040)));
  add(13, where(ramp < .5, tensor(-1100), tensor(-1010)));
  add(14, tensor(-inf));
  add(15, where(ramp < .9, tensor(0), tensor(inf)));
  add(16, where(ramp < .9, tensor(0), tensor(nan)));
  return x;
}

TEST(Softmax, RowsOfAllKindsStayWithinTheBounds) {
  manual_seed(8);
  for (const std::int64_t n : {3, 10, 16, 31, 33, 128, 513, 1100, 2500}) {
    const Tensor x = rows_of_all_kinds(n), y = softmax(x);
    for (std::int64_t r = 0; r < 24; ++r) {
      const auto row = select(x, 0, r).to_vector<float>(), p = select(y, 0, r).to_vector<float>();
      const auto exact = exact_log_softmax(row);
      for (std::size_t i = 0; i < row.size(); ++i) {
        const bool answer = r < 14 || r > 16;
        const double e = answer ? static_cast<double>(std::exp(static_cast<long double>(exact[i]))) : nan;
        EXPECT_LE(ulps(p[i], e), 8) << "row " << r << " of " << n << ", " << i << ": " << p[i] << ", not "
                                    << e;
      }
    }
  }
}

TEST(Softmax, ARowHangsOnItAlone) {
  manual_seed(9);
  for (const std::int64_t n : {1, 10, 16, 32, 33, 100, 600, 1500}) {
    const Tensor x = rows_of_all_kinds(n), g = randn({24, n}), o = softmax(x), d = softmax_backward(o, g);
    for (std::int64_t r = 0; r < 24; ++r) {
      const auto alone = [r](const Tensor& t) { return clone(narrow(t, 0, r, 1)); };
      const Tensor p = softmax(alone(x));
      const auto bits = [](const Tensor& t) {
        std::vector<std::uint32_t> all;
        for (const float v : t.to_vector<float>()) all.push_back(std::bit_cast<std::uint32_t>(v));
        return all;
      };
      EXPECT_EQ(bits(alone(o)), bits(p)) << "row " << r << " of " << n;
      EXPECT_EQ(bits(alone(d)), bits(softmax_backward(p, alone(g)))) << "row " << r << " of " << n;
    }
  }
}

// What no cache holds goes another way: past them.
TEST(Softmax, LargeResultsHaveTheBitsOfSmallOnes) {
  for (const std::int64_t n : {10, 16, 50, 1000, 70001}) {
    const std::int64_t count = (std::int64_t{9} << 18) / n;
    const Tensor x = randn({count, n}), g = randn({count, n}), o = softmax(x), d = softmax_backward(o, g);
    for (std::int64_t r = 0; r < count; r += count / 7 + 1) {
      const auto part = [&](const Tensor& t) {
        return clone(narrow(t, 0, r, std::min<std::int64_t>(5, count - r)));
      };
      EXPECT_EQ(part(o).to_vector<float>(), softmax(part(x)).to_vector<float>()) << r << " of " << n;
      EXPECT_EQ(part(d).to_vector<float>(), softmax_backward(part(o), part(g)).to_vector<float>())
          << r << " of " << n;
    }
  }
}

TEST(Softmax, MaskedEntriesAreExactZeros) {
  const auto p = softmax(tensor({{0, 0, 0}, {1, 2, 3}}) +
                         where(tensor({1, 0, 1}, DType::boolean), tensor(0), tensor(-inf)))
                     .to_vector<float>();
  EXPECT_EQ(p[1], 0);
  EXPECT_EQ(p[4], 0);
  EXPECT_FLOAT_EQ(p[0], .5f);
  for (float v : p) EXPECT_TRUE(std::isfinite(v));
}

// Long runs of -inf at either end must not poison what is finite.
TEST(Softmax, PrefixMasksOfAnyLength) {
  constexpr std::int64_t width = 1100;
  for (const std::int64_t masked : {1, 15, 16, 17, 511, 512, 513, 1099})
    for (const bool front : {true, false}) {
      Tensor x = zeros({width});
      narrow(x, 0, front ? 0 : width - masked, masked).fill_(-inf);
      const auto p = softmax(x, 0).to_vector<float>();
      for (std::int64_t i = 0; i < width; ++i) {
        const bool out = front ? i < masked : i >= width - masked;
        EXPECT_FLOAT_EQ(p[static_cast<std::size_t>(i)], out ? 0.f : 1.f / static_cast<float>(width - masked));
      }
    }
}

TEST(Softmax, SlicesWithoutAnAnswerAreNaN) {
  for (auto* f : {&softmax, &log_softmax}) {
    const auto y =
        f(tensor({{-inf, -inf, -inf}, {inf, 0, 1}, {nan, 0, 1}, {0, 0, -inf}}), 1).to_vector<float>();
    for (std::size_t i = 0; i < 9; ++i) EXPECT_TRUE(std::isnan(y[i])) << i;
    EXPECT_FALSE(std::isnan(y[9]));
  }
}

TEST(Softmax, OneClassIsOneWithoutGradient) {
  const Tensor x = (randn({5, 1}) * 1e6).set_requires_grad();
  const Tensor o = softmax(x);
  for (float v : o.to_vector<float>()) EXPECT_EQ(v, 1);
  backward(o, rand({5, 1}));
  for (float v : x.grad().to_vector<float>()) EXPECT_EQ(v, 0);
}

TEST(Softmax, EmptySlicesGiveAnEmptyResult) {
  EXPECT_EQ(softmax(zeros({4, 0})).shape(), (Shape{4, 0}));
  EXPECT_EQ(softmax(zeros({0, 4}), 0).shape(), (Shape{0, 4}));
}

TEST(Softmax, AnyAxisGivesTheBitsOfTheLast) {
  const Tensor x = randn({3, 40, 5, 7}) * 10;
  for (int axis = 0; axis < 4; ++axis) {
    const auto a = softmax(x, axis).to_vector<float>();
    const auto b = movedim(softmax(contiguous(movedim(x, axis, -1))), -1, axis).to_vector<float>();
    EXPECT_EQ(a, b) << "axis " << axis;
  }
}

TEST(LogSoftmax, KeepsTheDigitsOfResultsNearZero) {
  EXPECT_NEAR(log_softmax(tensor({17.5, 0})).at({0}), -2.511e-8, 1e-11);
  EXPECT_FLOAT_EQ(static_cast<float>(log_softmax(tensor({1e8, 1e8})).at({0})), -0.6931472f);
}

TEST(SoftmaxBackward, SixteenBitTypesAreComputedInF32) {
  const Tensor x = randn({4, 300}), g = randn({4, 300});
  for (const DType d : {DType::bf16, DType::f16}) {
    const Tensor o = to(softmax(x), d), narrow_g = to(g, d);
    const Tensor expected = to(softmax_backward(to(o, DType::f32), to(narrow_g, DType::f32)), d);
    EXPECT_EQ(softmax_backward(o, narrow_g).to_vector<float>(), expected.to_vector<float>());
  }
}

}  // namespace
