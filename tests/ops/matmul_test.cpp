#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>

using namespace bobbin;

namespace {

// |C - AB| against 64 units of f32 rounding of |A||B|, by a plain triple loop in double.
void expect_product(const Tensor& a, const Tensor& b) {
  const Tensor c = matmul(a, b);
  const auto n = a.size(0), k = a.size(1), m = b.size(1);
  const auto x = a.to_vector<double>(), y = b.to_vector<double>(), z = c.to_vector<double>();
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < m; ++j) {
      double exact = 0, size = 0;
      for (std::int64_t p = 0; p < k; ++p) {
        const double term = x[static_cast<std::size_t>(i * k + p)] * y[static_cast<std::size_t>(p * m + j)];
        exact += term;
        size += std::abs(term);
      }
      ASSERT_LE(std::abs(z[static_cast<std::size_t>(i * m + j)] - exact), 64 * 0x1p-24 * size + 1e-30)
          << a.spec() << " by " << b.spec() << " at " << i << ',' << j;
    }
}

TEST(Matmul, AgreesWithATripleLoop) {
  manual_seed(11);
  for (const auto& [n, k, m] : {std::array<std::int64_t, 3>{1, 1, 1},
                                {3, 5, 2},
                                {17, 1, 33},
                                {1, 300, 1},
                                {128, 784, 10},
                                {129, 65, 257},
                                {300, 64, 31},
                                {70, 300, 3},
                                {9, 40, 17},
                                {5, 129, 700}}) {
    expect_product(randn({n, k}), randn({k, m}));
    expect_product(transpose(randn({k, n})), randn({k, m}));
    expect_product(randn({n, k}), transpose(randn({m, k})));
    expect_product(transpose(randn({k, n})), transpose(randn({m, k})));
    expect_product(slice(randn({n, 2 * k}), 1, 0, 2 * k, 2), slice(randn({2 * k, m}), 0, 0, 2 * k, 2));
  }
}

TEST(Matmul, NothingToSumIsZero) {
  const auto y = matmul(zeros({2, 0}), zeros({0, 3})).to_vector<float>();
  EXPECT_EQ(y, std::vector<float>(6, 0.f));
}

TEST(Matmul, BatchesAreIndependentProducts) {
  const Tensor a = randn({3, 1, 4, 5}), b = randn({2, 5, 6}), c = matmul(a, b);
  ASSERT_EQ(c.shape(), (Shape{3, 2, 4, 6}));
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 2; ++j) {
      const auto part = matmul(select(select(a, 0, i), 0, 0), select(b, 0, j)).to_vector<float>();
      EXPECT_EQ(select(select(c, 0, i), 0, j).to_vector<float>(), part);
    }
}

TEST(Matmul, ThreadsDoNotChangeTheBits) {
  const int before = num_threads();
  for (const auto& [n, k, m] : {std::array<std::int64_t, 3>{200, 300, 500}, {900, 200, 10}, {3, 700, 800}}) {
    const Tensor a = randn({n, k}), b = randn({k, m});
    set_num_threads(1);
    const auto one = matmul(a, b).to_vector<float>();
    set_num_threads(4);
    EXPECT_EQ(matmul(a, b).to_vector<float>(), one);
  }
  set_num_threads(before);
}

TEST(Linear, IsTheProductTheBiasAndTheActivation) {
  const Tensor x = randn({37, 65}), w = randn({300, 65}), b = randn({300});
  const Tensor z = matmul(x, transpose(w)) + b;
  const std::pair<Activation, Tensor> all[] = {
      {Activation::none, z},       {Activation::relu, relu(z)},       {Activation::gelu, gelu(z)},
      {Activation::tanh, tanh(z)}, {Activation::sigmoid, sigmoid(z)}, {Activation::silu, silu(z)}};
  for (auto& [activation, expected] : all) {
    const auto got = linear(x, w, b, activation).to_vector<float>(), want = expected.to_vector<float>();
    for (std::size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], want[i], 2e-5) << static_cast<int>(activation);
  }
}

}  // namespace
