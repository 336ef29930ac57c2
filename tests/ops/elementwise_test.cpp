// Elementwise functions: kinks, special values, exact integers, broadcasting and conversions.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

using namespace bobbin;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity(),
                 nan = std::numeric_limits<double>::quiet_NaN();
std::vector<double> values(const Tensor& t) { return t.to_vector<double>(); }
using V = std::vector<double>;

double slope(Tensor (*f)(const Tensor&), double at) {
  const Tensor x = tensor(at, DType::f64).set_requires_grad();
  backward(f(x));
  return x.grad().item();
}

// The rules of elementwise.h.
TEST(Kinks, FollowTheDocumentedRule) {
  EXPECT_EQ(slope(relu, 0), 0);
  EXPECT_EQ(slope(abs, 0), 0);
  EXPECT_EQ(slope(sign, 0), 0);
  EXPECT_EQ(slope([](const Tensor& x) { return leaky_relu(x, .2); }, 0), .2);
  EXPECT_EQ(slope([](const Tensor& x) { return elu(x, 1.5); }, 0), 1.5);
  EXPECT_EQ(slope([](const Tensor& x) { return clamp(x, 0, 1); }, 0), 1);
  EXPECT_EQ(slope([](const Tensor& x) { return clamp(x, 0, 1); }, 1.5), 0);
  EXPECT_EQ(slope([](const Tensor& x) { return maximum(x, tensor(2, DType::f64)); }, 2), .5);
  EXPECT_EQ(slope([](const Tensor& x) { return minimum(x, tensor(2, DType::f64)); }, 2), .5);
  EXPECT_EQ(slope([](const Tensor& x) { return l1_loss(x, tensor(2, DType::f64)); }, 2), 0);
}

TEST(SpecialValues, AreWhatTheyShouldBe) {
  for (const DType d : {DType::f64, DType::f32}) {
    const Tensor x = tensor({inf, -inf, 0}, d);
    EXPECT_EQ(values(exp(x)), (V{inf, 0, 1}));
    EXPECT_EQ(values(sigmoid(x)), (V{1, 0, .5}));
    EXPECT_EQ(values(tanh(x)), (V{1, -1, 0}));
    EXPECT_EQ(values(relu(x)), (V{inf, 0, 0}));
    EXPECT_EQ(values(softplus(x))[0], inf);
    EXPECT_EQ(values(softplus(x))[1], 0);
    for (auto* f : {&neg, &abs, &sign, &exp, &relu, &sigmoid, &softplus, &square})
      EXPECT_TRUE(std::isnan(f(tensor(nan, d)).item()));
    EXPECT_TRUE(std::isnan(maximum(tensor(nan, d), tensor(1, d)).item()));
    EXPECT_TRUE(std::isnan(maximum(tensor(1, d), tensor(nan, d)).item()));
    EXPECT_TRUE(std::isnan(clamp(tensor(nan, d), 0, 1).item()));
  }
}

TEST(Exp, StaysWithinOneUlpOverTheWholeRange) {
  double worst = 0;
  std::vector<float> x;
  for (double v = -104; v < 88.7; v += 0.00137) x.push_back(static_cast<float>(v));
  const auto y = exp(from_range(x)).to_vector<float>();
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    const double ulp = std::ldexp(1.0, std::max(std::ilogb(exact), -126) - 23);
    worst = std::max(worst, std::abs(y[i] - exact) / ulp);
  }
  EXPECT_LE(worst, 1.0);
}

TEST(Integers, AreExact) {
  const Tensor big = from_range(std::vector<std::int64_t>{(std::int64_t{1} << 53) + 1, -7});
  EXPECT_EQ((big + big).to_vector<std::int64_t>(),
            (std::vector<std::int64_t>{(std::int64_t{1} << 54) + 2, -14}));
  EXPECT_EQ(square(tensor({3}, DType::i32)).item<std::int32_t>(), 9);
  EXPECT_EQ(maximum(tensor({3}, DType::u8), tensor({200}, DType::u8)).item(), 200);
}

TEST(Integers, WrapAround) {
  const std::int64_t most = std::numeric_limits<std::int64_t>::max(), least = -most - 1;
  const Tensor ends = from_range(std::vector<std::int64_t>{most, least}), one = full({}, 1, DType::i64);
  EXPECT_EQ((ends + one).to_vector<std::int64_t>(), (std::vector{least, least + 1}));
  EXPECT_EQ((ends - one).to_vector<std::int64_t>(), (std::vector{most - 1, most}));
  EXPECT_EQ((ends * ends).to_vector<std::int64_t>(), (std::vector<std::int64_t>{1, 0}));
  EXPECT_EQ(square(ends).to_vector<std::int64_t>(), (std::vector<std::int64_t>{1, 0}));
  EXPECT_EQ((-ends).to_vector<std::int64_t>(), (std::vector{-most, least}));
  EXPECT_EQ(abs(ends).to_vector<std::int64_t>(), (std::vector{most, least}));
  const Tensor narrow = from_range(std::vector<std::int32_t>{INT32_MIN});
  EXPECT_EQ((-narrow).item<std::int32_t>(), INT32_MIN);
  EXPECT_EQ(abs(narrow).item<std::int32_t>(), INT32_MIN);
  EXPECT_EQ((narrow * narrow).item<std::int32_t>(), 0);
  const Tensor bytes = tensor({200, 0}, DType::u8);
  EXPECT_EQ((bytes + bytes).to_vector<std::uint8_t>(), (std::vector<std::uint8_t>{144, 0}));
  EXPECT_EQ((-bytes).to_vector<std::uint8_t>(), (std::vector<std::uint8_t>{56, 0}));
}

TEST(Integers, AreLimitedByWhatTheyCanBe) {
  const auto limited = [](double x, DType d, double low, double high) {
    return clamp(tensor(x, d), low, high).item();
  };
  EXPECT_EQ(limited(10, DType::u8, 300, 400), 255);
  EXPECT_EQ(limited(10, DType::u8, -5, -1), 0);
  EXPECT_EQ(limited(10, DType::u8, -inf, inf), 10);
  EXPECT_EQ(limited(10, DType::i32, -1e30, 1e30), 10);
  EXPECT_EQ(limited(0, DType::i64, 0.5, 2.5), 1);
  EXPECT_EQ(limited(9, DType::i64, 0.5, 2.5), 2);
  EXPECT_THROW(limited(9, DType::i64, 0.2, 0.8), ValueError);
  const std::int64_t big = (std::int64_t{1} << 53) + 1;
  const Tensor x = from_range(std::vector<std::int64_t>{big, big + 1, INT64_MAX, INT64_MIN});
  EXPECT_EQ(clamp(x, -1e30, 1e30).to_vector<std::int64_t>(), x.to_vector<std::int64_t>())
      << "not through f64";
  EXPECT_EQ(clamp(x, 0x1p53, 0x1p60).to_vector<std::int64_t>(),
            (std::vector<std::int64_t>{big, big + 1, std::int64_t{1} << 60, std::int64_t{1} << 53}));
}

TEST(Numbers, ThatADtypeCannotBeAreErrors) {
  const Tensor x = tensor({1, 2}, DType::i64), bytes = tensor({0, 255}, DType::u8);
  try {
    x * 0.5;
    ADD_FAILURE();
  } catch (const DTypeError& e) {
    EXPECT_STREQ(e.what(), "mul: no i64 is 0.5; convert the tensor, as in to(x, DType::f64)");
  }
  EXPECT_THROW(bytes + 300, DTypeError);
  EXPECT_THROW(bytes - -1, DTypeError);
  EXPECT_THROW(1e300 * x, DTypeError);
  EXPECT_EQ(values(x * 2), (V{2, 4}));
}

TEST(Numbers, AreComparedWithIntegersAsInMathematics) {
  const Tensor bytes = tensor({0, 1, 255}, DType::u8), truth = tensor({0, 1}, DType::boolean);
  EXPECT_EQ(values(bytes > -1), (V{1, 1, 1}));
  EXPECT_EQ(values(-1 < bytes), (V{1, 1, 1}));
  EXPECT_EQ(values(bytes >= 256), (V{0, 0, 0}));
  EXPECT_EQ(values(bytes < 256), (V{1, 1, 1}));
  EXPECT_EQ(values(bytes < 1e300), (V{1, 1, 1}));
  EXPECT_EQ(values(bytes <= -inf), (V{0, 0, 0}));
  EXPECT_EQ(values(bytes < 0.5), (V{1, 0, 0}));
  EXPECT_EQ(values(bytes <= 0.5), (V{1, 0, 0}));
  EXPECT_EQ(values(bytes > 0.5), (V{0, 1, 1}));
  EXPECT_EQ(values(0.5 >= bytes), (V{1, 0, 0}));
  EXPECT_EQ(values(bytes >= 0.5), (V{0, 1, 1}));
  EXPECT_EQ(values(bytes <= 1), (V{1, 1, 0}));
  for (const Tensor& m : {bytes<nan, bytes <= nan, bytes> nan, bytes >= nan})
    EXPECT_EQ(values(m), (V{0, 0, 0}));
  EXPECT_EQ(values(truth > 0.5), (V{0, 1}));
  const Tensor ends = from_range(std::vector<std::int64_t>{INT64_MIN, INT64_MAX});
  EXPECT_EQ(values(ends < 0x1p63), (V{1, 1}));
  EXPECT_EQ(values(ends > -0x1p63), (V{0, 1}));
  EXPECT_EQ(values(ends >= -0x1p63), (V{1, 1}));
  EXPECT_EQ(values(ends <= -0x1.8p63), (V{0, 0}));
}

TEST(Broadcasting, FollowsNumPy) {
  const Tensor a = tensor({{1}, {2}}), b = tensor({10, 20, 30});
  EXPECT_EQ(values(a + b), (V{11, 21, 31, 12, 22, 32}));
  EXPECT_EQ((ones({3, 1, 2}) * ones({4, 1})).shape(), (Shape{3, 4, 2}));
  EXPECT_EQ((ones({0, 1}) * ones({1, 5})).shape(), (Shape{0, 5}));
}

TEST(Comparisons, GiveBoolWithoutGradient) {
  const Tensor x = tensor({1, 2, 3}).set_requires_grad(), m = x > 2;
  EXPECT_EQ(m.dtype(), DType::boolean);
  EXPECT_FALSE(m.requires_grad());
  EXPECT_EQ(values(m), (V{0, 0, 1}));
}

TEST(Scalars, TakeTheDtypeOfTheTensor) {
  EXPECT_EQ((tensor({1}, DType::bf16) * 2).dtype(), DType::bf16);
  EXPECT_EQ(values(3 - tensor({1, 2})), (V{2, 1}));
}

TEST(ToDType, CarriesTheGradientBack) {
  const Tensor x = tensor({1, 2}, DType::f64).set_requires_grad();
  backward(sum(to(x, DType::f32) * 3));
  EXPECT_EQ(x.grad().dtype(), DType::f64);
  EXPECT_EQ(values(x.grad()), (V{3, 3}));
}

}  // namespace
