// Dropout: the fraction of dropped elements, the same mask in the backward pass, and the source of its random
// numbers.
#include "ops/random/dropout.h"

#include <bobbin/autograd.h>
#include <bobbin/ops.h>
#include <bobbin/parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/philox.h"

namespace bobbin {
namespace {

Tensor drop(const Tensor& x, double p) { return record(Dropout{p, {11, 5}}, {x}); }

// Five standard deviations of a binomial count: a correct build fails once in 10^6 seeds, and the seed is
// fixed.
TEST(Dropout, KeepsTheShareItSays) {
  manual_seed(2024);
  constexpr std::int64_t n = 1'000'000;
  for (const double p : {0.1, 0.3, 0.5, 0.9, 0.999}) {
    const auto y = dropout(ones({n}), p).to_vector<float>();
    const auto kept = static_cast<double>(n - std::count(y.begin(), y.end(), 0.0f));
    EXPECT_NEAR(kept, n * (1 - p), 5 * std::sqrt(n * p * (1 - p))) << p;
    double sum = 0;
    for (float v : y) sum += v;
    EXPECT_NEAR(sum / n, 1, 5 * std::sqrt(p / (1 - p) / n)) << p;
  }
}

// Neighbours, and elements a Philox block or a block of the kernel apart, must not go together.
TEST(Dropout, DropsElementsIndependently) {
  manual_seed(7);
  constexpr std::size_t n = 400'000;
  const auto y = dropout(ones({static_cast<std::int64_t>(n)}), 0.5).to_vector<float>();
  for (std::size_t lag : {1, 2, 3, 4, 8, 1024, 16384}) {
    double both = 0;
    for (std::size_t i = 0; i + lag < n; ++i) both += y[i] != 0 && y[i + lag] != 0;
    EXPECT_NEAR(both / static_cast<double>(n - lag), 0.25, 5 * std::sqrt(0.1875 / n)) << lag;
  }
}

TEST(Dropout, ScalesWhatItKeepsByWordsOfTheDraw) {
  for (const double p : {0.25, 0.4, 0.75}) {
    const Tensor x = randn({3, 700}, DType::f64);
    const auto from = x.to_vector<double>(), y = drop(x, p).to_vector<double>();
    for (std::size_t i = 0; i < y.size(); ++i)
      ASSERT_EQ(y[i], Philox({11, 5}).word(i) * 0x1p-32 >= p ? from[i] * (1 / (1 - p)) : 0) << i;
  }
}

TEST(Dropout, BackwardDropsTheSame) {
  Tensor x = randn({50, 40}, DType::f64);
  x.set_requires_grad();
  const double p = 0.3;
  const Tensor y = dropout(x, p);
  const Tensor g = ones(y.shape(), DType::f64);
  dropout(x, p);  // another draw in between changes nothing
  const Tensor dx = grad(y, {x}, g)[0];
  const auto forward = y.to_vector<double>(), back = dx.to_vector<double>();
  for (std::size_t i = 0; i < back.size(); ++i) ASSERT_EQ(back[i], forward[i] != 0 ? 1 / (1 - p) : 0) << i;
}

TEST(Dropout, LeavesNoTensorOnTheTape) {
  Tensor x = randn({4});
  x.set_requires_grad();
  const Tensor y = dropout(x, 0.5);
  ASSERT_TRUE(y.node());
  for (const Edge& edge : y.node()->inputs) EXPECT_FALSE(edge.saved.tensor);
  EXPECT_FALSE(y.node()->output.tensor);
  EXPECT_TRUE(y.node()->aux.empty());
}

TEST(Dropout, TakesOneDrawACall) {
  const Tensor x = ones({1000});
  manual_seed(3);
  const auto a = dropout(x).to_vector<float>(), b = dropout(x).to_vector<float>();
  EXPECT_NE(a, b);
  EXPECT_EQ(default_generator().draws, 2u);
  manual_seed(3);
  EXPECT_EQ(dropout(x).to_vector<float>(), a);
  manual_seed(4);
  EXPECT_NE(dropout(x).to_vector<float>(), a);
  // Calls that drop nothing, or throw, draw nothing.
  manual_seed(3);
  dropout(x, 0.5, false);
  dropout(x, 0);
  EXPECT_THROW(dropout(zeros({2}, DType::i32), 0.5), DTypeError);
  EXPECT_EQ(default_generator().draws, 0u);
}

TEST(Dropout, OneMaskForEveryDTypeAndLayout) {
  const Tensor x = to(randint(1, 9, {70, 50}), DType::f64);
  const auto expected = drop(x, 0.5).to_vector<double>();  // the scale is 2: exact in every dtype
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    EXPECT_EQ(drop(to(x, dtype), 0.5).to_vector<double>(), expected) << dtype;
  EXPECT_EQ(drop(transpose(contiguous(transpose(x))), 0.5).to_vector<double>(), expected);
}

TEST(Dropout, ThreadsDoNotChangeABit) {
  const int before = num_threads();
  const Tensor x = randn({301, 333});
  set_num_threads(1);
  const auto expected = drop(x, 0.4).to_vector<float>();
  for (int threads : {2, 5}) {
    set_num_threads(threads);
    EXPECT_EQ(drop(x, 0.4).to_vector<float>(), expected) << threads;
  }
  set_num_threads(before);
}

TEST(Dropout, DropsNotANumberToo) {
  const double inf = std::numeric_limits<double>::infinity();
  for (const double special : {inf, -inf, std::nan("")}) {
    const auto y = drop(full({100}, special, DType::f64), 0.5).to_vector<double>();
    EXPECT_GT(std::count(y.begin(), y.end(), 0.0), 20);
    EXPECT_LT(std::count(y.begin(), y.end(), 0.0), 80);
  }
}

TEST(Dropout, EndsOfTheRange) {
  const Tensor x = randn({100});
  EXPECT_EQ(dropout(x, 1).to_vector<float>(), std::vector<float>(100, 0));
  EXPECT_EQ(dropout(x, 0).storage(), x.storage());
  EXPECT_EQ(dropout(x, 0.5, false).storage(), x.storage());
  EXPECT_EQ(dropout(zeros({0, 3}), 0.5).shape(), (Shape{0, 3}));
  Tensor y = randn({5});
  y.set_requires_grad();
  backward(dropout(y, 1), ones({5}));
  EXPECT_EQ(y.grad().to_vector<float>(), std::vector<float>(5, 0));
}

TEST(Dropout, RefusesWhatIsNoProbability) {
  const Tensor x = randn({3});
  const auto before = x.to_vector<float>();
  for (const double p : {-0.1, 1.1, std::nan(""), std::numeric_limits<double>::infinity()})
    for (const bool training : {true, false}) EXPECT_THROW(dropout(x, p, training), ValueError) << p;
  EXPECT_EQ(x.to_vector<float>(), before);
  EXPECT_EQ(x.version(), 0u);
}

}  // namespace
}  // namespace bobbin
