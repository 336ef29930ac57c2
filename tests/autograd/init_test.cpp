// Initialisers by the distributions they are named after.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>

using bobbin::DType, bobbin::DTypeError, bobbin::Shape, bobbin::ShapeError, bobbin::Tensor,
    bobbin::ValueError;
namespace init = bobbin::nn::init;
namespace nn = bobbin::nn;

namespace {

double deviation(const Tensor& x) { return bobbin::std(x).item(); }
double most(const Tensor& x) { return max(abs(x)).item(); }

TEST(Init, FollowsTheFans) {
  bobbin::manual_seed(1);
  Tensor w = bobbin::empty({64, 32, 3, 3});  // fan-in 288, fan-out 576
  EXPECT_NEAR(deviation(init::kaiming_normal_(w)), std::sqrt(2.0 / 288), 1e-3);
  EXPECT_NEAR(deviation(init::kaiming_normal_(w, {.fan = init::Fan::out, .gain = 1})), std::sqrt(1.0 / 576),
              1e-3);
  EXPECT_NEAR(deviation(init::kaiming_uniform_(w)), std::sqrt(2.0 / 288), 1e-3);
  EXPECT_NEAR(most(w), std::sqrt(6.0 / 288), 1e-4);
  EXPECT_LE(most(w), std::sqrt(6.0 / 288));
  EXPECT_NEAR(deviation(init::xavier_normal_(w, 2)), 2 * std::sqrt(2.0 / (288 + 576)), 2e-3);
  EXPECT_NEAR(most(init::xavier_uniform_(w)), std::sqrt(6.0 / (288 + 576)), 1e-4);
  EXPECT_DOUBLE_EQ(init::calculate_gain(init::Nonlinearity::tanh), 5. / 3);
  EXPECT_DOUBLE_EQ(init::calculate_gain(init::Nonlinearity::leaky_relu, 1), 1);
}

TEST(Init, MakesOrthogonalRowsOrColumns) {
  bobbin::manual_seed(2);
  for (const Shape& s : {Shape{3, 5}, Shape{5, 3}, Shape{4, 4}, Shape{2, 3, 2}}) {
    Tensor w = bobbin::empty(s, DType::f64);
    const Tensor m = bobbin::reshape(init::orthogonal_(w, 2), {s[0], -1});
    const Tensor square = m.size(0) <= m.size(1) ? matmul(m, transpose(m)) : matmul(transpose(m), m);
    EXPECT_LT(most(square - bobbin::eye(square.size(0), DType::f64) * 4), 1e-12) << s;
  }
}

TEST(Init, CutsTheNormalDistribution) {
  bobbin::manual_seed(3);
  Tensor w = bobbin::empty({20000});
  init::trunc_normal_(w, 1, 2, 0, 5);
  EXPECT_GE(min(w).item(), 0);
  EXPECT_LE(max(w).item(), 5);
  // The mean of a normal distribution cut to [-0.5, 2] deviations: (phi(-.5) - phi(2)) / (Phi(2) - Phi(-.5)).
  EXPECT_NEAR(mean(w).item(), 1 + 2 * (0.352065 - 0.053991) / (0.977250 - 0.308538), .03);
  EXPECT_THROW(init::trunc_normal_(w, 0, 1, 4, 5), ValueError);
}

TEST(Init, EditsParametersAndSaysWhatItCannotDo) {
  nn::Linear layer(3, 2);
  init::constant_(layer.bias, .5);
  init::normal_(layer.weight, 10, .1);
  EXPECT_TRUE(layer.weight.requires_grad());
  EXPECT_EQ(layer.bias.to_vector<float>(), (std::vector<float>{.5f, .5f}));
  EXPECT_NEAR(mean(layer.weight).item(), 10, .5);
  EXPECT_THROW(init::xavier_normal_(layer.bias), ShapeError);
  Tensor whole = bobbin::empty({2, 2}, DType::i64);
  EXPECT_THROW(init::kaiming_normal_(whole), DTypeError);
}

}  // namespace
