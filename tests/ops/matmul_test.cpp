// Matrix products against a triple loop, and linear against a product, a sum and an activation.
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
                                {12, 33, 11},
                                {141, 130, 15},
                                {40, 50, 16},
                                {9, 40, 17},
                                {9, 601, 50},
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
  for (const std::int64_t out : {300, 10}) {
    const Tensor x = randn({37, 65}), w = randn({out, 65}), b = randn({out});
    const Tensor z = matmul(x, transpose(w)) + b;
    const std::pair<Activation, Tensor> all[] = {
        {Activation::none, z},       {Activation::relu, relu(z)},       {Activation::gelu, gelu(z)},
        {Activation::tanh, tanh(z)}, {Activation::sigmoid, sigmoid(z)}, {Activation::silu, silu(z)}};
    for (auto& [activation, expected] : all) {
      const auto got = linear(x, w, b, activation).to_vector<float>(), want = expected.to_vector<float>();
      for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], want[i], 2e-5) << static_cast<int>(activation) << " of " << out;
    }
  }
}

struct Layer {
  std::string note;
  Shape x;
  std::int64_t out;
  bool bias = true, needs_x = true, needs_weight = true;
};

// The gradients of those inputs that need one.
std::vector<Tensor> gradients(const Layer& l, Activation activation, DType type, CreateGraph create) {
  manual_seed(5);
  const std::int64_t in = l.x[l.x.size() - 1];
  std::vector<Tensor> inputs{to(randn(l.x), type), to(randn({l.out, in}), type)};
  if (l.bias) inputs.push_back(to(randn({l.out}), type));
  std::vector<Tensor> wanted;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (i == 0 ? l.needs_x : i == 2 || l.needs_weight) wanted.push_back(inputs[i].set_requires_grad(true));
  const Tensor y = linear(inputs[0], inputs[1], l.bias ? inputs[2] : Tensor(), activation);
  return grad(y, wanted, to(randn(y.shape()), type), create);
}

// Where nothing is recorded, another way leads to them.
TEST(Linear, GradientsAreThoseThatAreRecorded) {
  for (const Layer& l : {Layer{"several tiles", {130, 70}, 150},
                         {"few outputs", {128, 128}, 10},
                         {"no bias", {37, 65}, 33, false},
                         {"x alone", {37, 65}, 33, false, true, false},
                         {"x and bias", {70, 300}, 65, true, true, false},
                         {"weight and bias", {70, 300}, 65, true, false},
                         {"bias alone", {70, 300}, 129, true, false, false},
                         {"one output", {37, 65}, 1},
                         {"one row", {65}, 33},
                         {"batches", {3, 5, 20}, 7},
                         {"no inputs", {3, 0}, 7},
                         {"no rows", {0, 20}, 7}})
    for (const Activation a : {Activation::none, Activation::relu, Activation::tanh, Activation::gelu})
      for (const DType type : {DType::f32, DType::f64, DType::bf16}) {
        const auto got = gradients(l, a, type, CreateGraph::no),
                   want = gradients(l, a, type, CreateGraph::yes);
        ASSERT_EQ(got.size(), want.size());
        for (std::size_t i = 0; i < got.size(); ++i) {
          ASSERT_EQ(got[i].spec(), want[i].spec()) << l.note;
          const auto x = got[i].to_vector<double>(), y = want[i].to_vector<double>();
          for (std::size_t k = 0; k < x.size(); ++k)
            ASSERT_NEAR(x[k], y[k], type == DType::f64 ? 1e-12 : 1e-4) << l.note << ", gradient " << i;
        }
      }
}

TEST(Linear, ThreadsDoNotChangeTheBitsOfGradients) {
  const int before = num_threads();
  for (const Layer& l : {Layer{"several tiles", {130, 70}, 150}, {"few outputs", {128, 128}, 10}}) {
    set_num_threads(1);
    const auto one = gradients(l, Activation::relu, DType::f32, CreateGraph::no);
    for (const int threads : {2, 5}) {
      set_num_threads(threads);
      const auto some = gradients(l, Activation::relu, DType::f32, CreateGraph::no);
      for (std::size_t i = 0; i < one.size(); ++i)
        EXPECT_EQ(some[i].to_vector<float>(), one[i].to_vector<float>()) << l.note << ", gradient " << i;
    }
  }
  set_num_threads(before);
}

}  // namespace
