// Edge cases of reductions: no elements, NaNs and infinities, ties; and derivatives.
#include <bobbin/autograd.h>
#include <bobbin/ops.h>
#include <bobbin/random.h>

#include <limits>

#include "tests/ops/expect_values.h"

using namespace bobbin;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity(),
                 nan = std::numeric_limits<double>::quiet_NaN();
using Values = std::vector<double>;

TEST(Reduce, NothingToReduce) {
  const Tensor x = zeros({0, 3}), ints = zeros({0, 3}, DType::i32);
  expect_values(sum(x), {0});
  expect_values(sum(x, {0}), {0, 0, 0});
  EXPECT_EQ(sum(x, {1}).shape(), Shape({0}));
  expect_values(sum(ints, {0}, true), {0, 0, 0});
  expect_values(mean(x, {0}), {nan, nan, nan});
  expect_values(var(x), {nan});
  expect_values(bobbin::std(x), {nan});
  expect_values(logsumexp(x), {-inf});
  expect_values(norm(x), {0});
  expect_values(norm(x, inf), {0});
  EXPECT_EQ(cumsum(x, 0).shape(), x.shape());
  EXPECT_EQ(max(x, {1}).shape(), Shape({0}));
  EXPECT_THROW(max(x), ShapeError);
  EXPECT_THROW(amin(x, {0}), ShapeError);
  EXPECT_THROW(argmax(x, 0), ShapeError);
  const Tensor leaf = zeros({0, 3}).set_requires_grad();
  EXPECT_EQ(grad(sum(leaf), {leaf})[0].shape(), leaf.shape());
  EXPECT_EQ(grad(mean(leaf), {leaf})[0].shape(), leaf.shape());
}

TEST(Reduce, NansAndInfinities) {
  const Tensor x = tensor({{1, nan, inf, nan}, {-inf, -inf, -inf, -inf}, {inf, 2, inf, -inf}}, DType::f64);
  expect_values(max(x, {1}), {nan, -inf, inf});
  expect_values(min(x, {1}), {nan, -inf, -inf});
  expect_values(amax(x, {0}), {inf, nan, inf, nan});
  expect_values(argmax(x, 1), {1, 0, 0});
  expect_values(argmin(x, 1), {1, 0, 3});
  expect_values(logsumexp(x, {1}), {nan, -inf, inf});
  expect_values(norm(x, inf, {1}), {nan, inf, inf});
  expect_values(sum(x, {1}), {nan, -inf, nan});
  // A NaN anywhere in a long row, whichever lane and block it falls in.
  for (const std::int64_t at : {0, 17, 1023, 1024, 2999}) {
    Tensor row = zeros({3000});
    row.mutable_data<float>()[static_cast<std::size_t>(at)] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(max(row).item())) << at;
    EXPECT_TRUE(std::isnan(amin(row).item())) << at;
    EXPECT_TRUE(std::isnan(logsumexp(row).item())) << at;
    EXPECT_EQ(argmax(row).item<std::int64_t>(), at);
  }
}

TEST(Reduce, StdDevIsStd) {
  const Tensor x = randn({3, 7}, DType::f64);
  EXPECT_EQ(std_dev(x, {1}, 0, true).to_vector<double>(), bobbin::std(x, {1}, 0, true).to_vector<double>());
}

TEST(Reduce, VarianceOfTooFew) {
  expect_values(var(tensor({{2}, {3}}), {1}), {nan, nan});
  expect_values(var(tensor({{2}, {3}}), {1}, 0), {0, 0});
  expect_values(var(tensor({1, 2, 3}), {}, 5), {nan});
}

TEST(Reduce, ExtremesOfIntegersAreExact) {
  constexpr auto high = std::numeric_limits<std::int64_t>::max(),
                 low = std::numeric_limits<std::int64_t>::min();
  const Tensor x = from_range(std::vector<std::int64_t>{high - 1, high, low + 1, low});
  EXPECT_EQ(max(x).item<std::int64_t>(), high);
  EXPECT_EQ(min(x).item<std::int64_t>(), low);
  EXPECT_EQ(argmax(x).item<std::int64_t>(), 1);
  EXPECT_EQ(argmin(full({3}, 0, DType::boolean)).item<std::int64_t>(), 0);
  EXPECT_EQ(sum(from_range(std::vector<std::int64_t>{high, low, 5})).item<std::int64_t>(), 4);
}

Values gradient(Tensor (*f)(const Tensor&, const Axes&, bool), const Tensor& x, const Axes& axes) {
  const Tensor leaf = x.detach().set_requires_grad();
  return grad(sum(f(leaf, axes, false)), {leaf})[0].to_vector<double>();
}

TEST(Reduce, TiesGoToTheFirstOrAreShared) {
  const Tensor x = tensor({{1, 3, 3}, {3, 0, 1}}, DType::f64);
  EXPECT_EQ(gradient(max, x, {}), (Values{0, 1, 0, 0, 0, 0}));
  EXPECT_EQ(gradient(max, x, {0}), (Values{0, 1, 1, 1, 0, 0}));
  EXPECT_EQ(gradient(max, x, {1}), (Values{0, 1, 0, 1, 0, 0}));
  EXPECT_EQ(gradient(min, x, {0}), (Values{1, 0, 0, 0, 1, 1}));
  // First in row-major order of the view, not of the memory.
  EXPECT_EQ(gradient(max, transpose(x), {}), (Values{0, 1, 0, 0, 0, 0}));
  const double third = 1.0 / 3;
  EXPECT_EQ(gradient(amax, x, {}), (Values{0, third, third, third, 0, 0}));
  EXPECT_EQ(gradient(amin, tensor({{2, 2}, {5, 2}}, DType::f64), {1}), (Values{0.5, 0.5, 0, 1}));
  const Tensor cube = tensor({{{1, 7}, {7, 2}}, {{7, 0}, {1, 1}}}, DType::f64);
  EXPECT_EQ(gradient(max, cube, {0, 2}), (Values{0, 1, 1, 0, 0, 0, 0, 0}));
}

TEST(Reduce, DerivativesWhereFunctionsBend) {
  for (const double p : {0.5, 1.0, 1.5, 2.0, 3.0, inf}) {
    const Tensor x = zeros({4}, DType::f64).set_requires_grad();
    expect_values(grad(norm(x, p), {x})[0], {0, 0, 0, 0});
  }
  const Tensor tie = tensor({2, -2, 1}, DType::f64).set_requires_grad();
  expect_values(grad(norm(tie, inf), {tie})[0], {0.5, -0.5, 0});
  const Tensor masked = tensor({{-inf, -inf}, {-inf, 3}}, DType::f64).set_requires_grad();
  expect_values(grad(sum(logsumexp(masked, {1})), {masked})[0], {0, 0, 0, 1});
  const Tensor flat = ones({3}, DType::f64).set_requires_grad();
  expect_values(grad(bobbin::std(flat), {flat})[0], {0, 0, 0});
  expect_values(grad(var(flat), {flat})[0], {0, 0, 0});
}

// The Hessian of logsumexp is diag(p) - p p'.
TEST(Reduce, SecondDerivatives) {
  const Tensor x = tensor({0.5, -1, 2}, DType::f64).set_requires_grad(), v = tensor({1, 2, -1}, DType::f64);
  const Tensor g = grad(logsumexp(x), {x}, {}, CreateGraph::yes)[0];
  const Tensor h = grad(sum(g * v), {x})[0];
  const auto p = g.to_vector<double>();
  const double pv = p[0] + 2 * p[1] - p[2];
  expect_values(h, {p[0] * (1 - pv), p[1] * (2 - pv), p[2] * (-1 - pv)}, 1e-14);

  const Tensor gv = grad(var(x), {x}, {}, CreateGraph::yes)[0];
  const double mean_v = 2.0 / 3;
  expect_values(grad(sum(gv * v), {x})[0], {1 - mean_v, 2 - mean_v, -1 - mean_v}, 1e-14);
}

TEST(Reduce, SumToUndoesBroadcasting) {
  const Tensor x = arange(0, 24, 1, DType::f32).set_requires_grad(), y = reshape(x, {2, 3, 4});
  EXPECT_EQ(sum_to(y, {2, 3, 4}).node(), y.node());  // itself: nothing recorded
  expect_values(sum_to(y, {}), {276});
  expect_values(sum_to(y, {4}), {60, 66, 72, 78});
  EXPECT_EQ(sum_to(y, {1, 3, 1}).shape(), Shape({1, 3, 1}));
  expect_values(sum_to(y, {1, 3, 1}), {60, 92, 124});
  expect_values(sum_to(y, {3, 1}), {60, 92, 124});
  EXPECT_EQ(sum_to(ones({1, 1, 3}), {3}).shape(), Shape({3}));
  expect_values(sum_to(zeros({0, 3}), {3}), {0, 0, 0});
  expect_values(sum_to(zeros({0}), {1}), {0});
  EXPECT_THROW(sum_to(y, {2}), ShapeError);
  EXPECT_THROW(sum_to(ones({3}), {1, 3}), ShapeError);
}

}  // namespace
