// Losses against their definitions, and cross-entropy with weights, ignored rows and probabilities.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>

using namespace bobbin;

namespace {

double loss(const Tensor& x, const Tensor& t, const CrossEntropyOptions& o = {}) {
  return cross_entropy(x, t, o).item();
}

// By the definition, in double, one row at a time.
double reference(const Tensor& x, const std::vector<std::int64_t>& t, const std::vector<double>& w,
                 double smoothing, std::int64_t ignored) {
  const auto p = log_softmax(to(x, DType::f64), 1).to_vector<double>();
  const std::size_t classes = w.size();
  double total = 0, weight = 0;
  for (std::size_t r = 0; r < t.size(); ++r) {
    if (t[r] == ignored) continue;
    const auto y = static_cast<std::size_t>(t[r]);
    total -= (1 - smoothing) * w[y] * p[r * classes + y];
    for (std::size_t c = 0; c < classes; ++c)
      total -= smoothing / static_cast<double>(classes) * w[c] * p[r * classes + c];
    weight += w[y];
  }
  return total / weight;
}

TEST(CrossEntropy, FollowsItsDefinition) {
  manual_seed(3);
  const Tensor x = randn({6, 4}, DType::f64) * 3;
  const std::vector<std::int64_t> t{0, 3, 1, -100, 2, 3};
  const std::vector<double> w{.5, 1, 2, .25};
  EXPECT_NEAR(loss(x, from_range(t)), reference(x, t, {1, 1, 1, 1}, 0, -100), 1e-14);
  EXPECT_NEAR(loss(x, from_range(t), {.weight = from_range(w), .label_smoothing = .3}),
              reference(x, t, w, .3, -100), 1e-14);
}

TEST(CrossEntropy, OneHotProbabilitiesGiveWhatIndicesGive) {
  const Tensor x = randn({5, 7}, DType::f64), t = randint(0, 7, {5});
  EXPECT_NEAR(loss(x, t), loss(x, one_hot(t, 7, DType::f64)), 1e-14);
  EXPECT_NEAR(loss(x, t, {.label_smoothing = .2}),
              loss(x, one_hot(t, 7, DType::f64), {.label_smoothing = .2}), 1e-14);
}

TEST(CrossEntropy, HugeLogitsKeepTheirDigits) {
  EXPECT_NEAR(loss(tensor({{1e4, 0}}), tensor({1}, DType::i64)), 1e4, 1e-3);
  EXPECT_NEAR(loss(tensor({{17.5, 0}}), tensor({0}, DType::i64)), 2.511e-8, 1e-11);
}

TEST(CrossEntropy, NothingCountedIsNaN) {
  EXPECT_TRUE(std::isnan(loss(tensor({{1, 2}}), tensor({-100}, DType::i64))));
  EXPECT_EQ(loss(tensor({{1, 2}}), tensor({-100}, DType::i64), {.reduction = Reduction::sum}), 0);
}

TEST(CrossEntropy, GradientIsProbabilityLessTarget) {
  const Tensor x = randn({3, 4}, DType::f64).set_requires_grad();
  const Tensor t = tensor({2, 0, 1}, DType::i64);
  backward(cross_entropy(x, t));
  const auto expected = ((softmax(x.detach()) - one_hot(t, 4, DType::f64)) / 3).to_vector<double>();
  const auto got = x.grad().to_vector<double>();
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-15);
}

TEST(CrossEntropy, ThreadsDoNotChangeTheBits) {
  const int before = num_threads();
  for (const auto& shape : {Shape{128, 10}, Shape{3, 300}, Shape{2, 5, 70}}) {
    Shape rows = shape;
    rows.erase(1);
    const Tensor x = randn(shape).set_requires_grad(true), t = randint(0, shape[1], rows);
    std::vector<float> value, slope;
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      const Tensor y = cross_entropy(x, t);
      const auto v = y.to_vector<float>(), g = grad(y, {x}, ones_like(y))[0].to_vector<float>();
      if (threads == 1) value = v, slope = g;
      EXPECT_EQ(v, value);
      EXPECT_EQ(g, slope);
    }
  }
  set_num_threads(before);
}

TEST(CrossEntropy, IgnoredRowsGetExactlyNoGradient) {
  const Tensor x = (randn({2, 3}) * 1e30).set_requires_grad();
  backward(cross_entropy(x, tensor({-100, 1}, DType::i64)));
  for (int c = 0; c < 3; ++c) EXPECT_EQ(x.grad().at({0, c}), 0);
}

TEST(CrossEntropy, BadClassThrowsBeforeAnythingIsComputed) {
  const Tensor x = randn({4, 3});
  try {
    cross_entropy(x, tensor({0, 1, -1, 2}, DType::i64));
    FAIL();
  } catch (const IndexError& e) {
    EXPECT_STREQ(e.what(), "cross_entropy: class -1 at flat position 2 is outside [0,3)");
  }
}

TEST(CrossEntropy, ClassWeightsTakeNoGradient) {
  EXPECT_THROW(
      cross_entropy(randn({1, 2}), tensor({0}, DType::i64), {.weight = ones({2}).set_requires_grad()}),
      GradError);
}

TEST(NllLoss, OfLogSoftmaxIsCrossEntropy) {
  const Tensor x = randn({6, 5, 2}, DType::f64), t = randint(0, 5, {6, 2}),
               w = uniform({5}, .5, 2, DType::f64);
  for (const Reduction r : {Reduction::mean, Reduction::sum})
    EXPECT_NEAR(nll_loss(log_softmax(x, 1), t, {.weight = w, .ignore_index = 2, .reduction = r}).item(),
                cross_entropy(x, t, {.weight = w, .ignore_index = 2, .reduction = r}).item(), 1e-13);
}

TEST(Losses, FollowTheirDefinitions) {
  const Tensor x = tensor({1, -2, 3}, DType::f64), t = tensor({1.5, 0, .25}, DType::f64);
  EXPECT_DOUBLE_EQ(mse_loss(x, t, Reduction::sum).item(), .25 + 4 + 7.5625);
  EXPECT_DOUBLE_EQ(l1_loss(x, t).item(), (.5 + 2 + 2.75) / 3);
  EXPECT_DOUBLE_EQ(huber_loss(x, t, 1, Reduction::sum).item(), .125 + 1.5 + 2.25);
  EXPECT_NEAR(binary_cross_entropy_with_logits(tensor({0.3}, DType::f64), tensor({.8}, DType::f64)).item(),
              -(.8 * std::log(1 / (1 + std::exp(-.3))) + .2 * std::log(1 - 1 / (1 + std::exp(-.3)))), 1e-15);
  EXPECT_NEAR(
      kl_div(tensor({std::log(.5), std::log(.5)}, DType::f64), tensor({1, 0}, DType::f64), Reduction::sum)
          .item(),
      std::log(2.0), 1e-15);
}

TEST(Losses, LargeLogitsDoNotOverflow) {
  const Tensor x = tensor({-1000, 1000}), t = tensor({0, 1});
  EXPECT_EQ(binary_cross_entropy_with_logits(x, t).item(), 0);
}

}  // namespace
