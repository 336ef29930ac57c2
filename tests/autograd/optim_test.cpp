#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>

using namespace bobbin;

namespace {

Tensor parameter(double v) { return tensor({v}, DType::f64).set_requires_grad(); }

TEST(Sgd, FollowsItsFormulaWithMomentum) {
  for (const bool nesterov : {false, true}) {
    Tensor p = parameter(1);
    optim::Sgd sgd({p}, {.lr = .1, .momentum = .9, .weight_decay = .01, .nesterov = nesterov});
    double x = 1, m = 0;
    for (int i = 0; i < 5; ++i) {
      sgd.zero_grad();
      backward(sum(square(p)));
      sgd.step();
      const double g = 2 * x + .01 * x;
      m = .9 * m + g;
      x -= .1 * (nesterov ? g + .9 * m : m);
      EXPECT_NEAR(p.item(), x, 1e-14);
    }
  }
}

TEST(Adam, FollowsItsFormula) {
  Tensor p = parameter(1);
  optim::Adam adam({p}, {.lr = .1, .weight_decay = .02});
  double x = 1, m = 0, v = 0;
  for (int t = 1; t <= 5; ++t) {
    adam.zero_grad();
    backward(sum(square(p)));
    adam.step();
    const double g = 2 * x;
    m = .9 * m + .1 * g;
    v = .999 * v + .001 * g * g;
    x = x * (1 - .1 * .02) -
        .1 * (m / (1 - std::pow(.9, t))) / (std::sqrt(v / (1 - std::pow(.999, t))) + 1e-8);
    EXPECT_NEAR(p.item(), x, 1e-14);
  }
}

TEST(Adam, LeavesAloneWhatHasNoGradient) {
  Tensor p = parameter(1), q = parameter(2);
  optim::Adam adam({p, q});
  backward(sum(p));
  adam.step();
  EXPECT_NE(p.item(), 1);
  EXPECT_EQ(q.item(), 2);
}

TEST(Optimizer, RefusesWhatItCannotTrain) {
  EXPECT_THROW(optim::Sgd({tensor({1})}), GradError);
  EXPECT_THROW(optim::Sgd({parameter(1) * 2}), GradError);
  EXPECT_THROW(optim::Adam({zeros({2}, DType::bf16).set_requires_grad()}), DTypeError);
}

TEST(Optimizer, ReadsAStridedGradient) {
  Tensor p = tensor({{1, 2}, {3, 4}}).set_requires_grad();
  p.set_grad(transpose(tensor({{1, 2}, {3, 4}})));
  optim::Sgd sgd({p}, {.lr = 1});
  sgd.step();
  EXPECT_EQ(p.to_vector<float>(), (std::vector<float>{0, -1, 1, 0}));
}

TEST(OneCycle, RisesToItsPeakAndFalls) {
  const optim::OneCycle rate{.peak = 1, .steps = 100, .warm_up = .25};
  EXPECT_NEAR(rate(0), .04, 1e-12);
  EXPECT_NEAR(rate(25), 1, 1e-12);
  EXPECT_LT(rate(99), .001);
  for (int i = 1; i <= 25; ++i) EXPECT_GT(rate(i), rate(i - 1));
  for (int i = 26; i < 100; ++i) EXPECT_LT(rate(i), rate(i - 1));
  EXPECT_GT((optim::OneCycle{1, 10, 0}(0)), .9);
}

}  // namespace
