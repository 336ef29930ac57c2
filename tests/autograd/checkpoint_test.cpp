// checkpoint(): the same gradients as without it, of any order.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

using namespace bobbin;

namespace {

TEST(Checkpoint, GivesTheSameGradients) {
  const Tensor x = randn({3, 4}, DType::f64).set_requires_grad(),
               w = randn({4, 4}, DType::f64).set_requires_grad();
  const auto f = [&](Inputs in) { return tanh(matmul(in[0], w)); };  // w is captured, not passed
  backward(sum(square(f(std::vector{x}))));
  const auto gx = x.grad().to_vector<double>(), gw = w.grad().to_vector<double>();
  Tensor(x).set_grad({});
  Tensor(w).set_grad({});
  backward(sum(square(checkpoint(f, {x}))));
  EXPECT_EQ(x.grad().to_vector<double>(), gx);
  EXPECT_EQ(w.grad().to_vector<double>(), gw);
}

TEST(Checkpoint, KeepsItsInputsAlone) {
  const Tensor x = randn({256, 256}).set_requires_grad();
  const std::int64_t before = allocator().stats().bytes_live;
  const auto f = [](Inputs in) { return sum(exp(tanh(softmax(in[0])))); };
  const Tensor y = checkpoint(f, {x});
  EXPECT_EQ(allocator().stats().bytes_live - before, 64);
}

TEST(Checkpoint, DropoutDrawsTheSameMask) {
  manual_seed(5);
  const Tensor x = ones({1000}).set_requires_grad();
  const Tensor y = checkpoint([](Inputs in) { return dropout(in[0], .5); }, {x});
  rand({10});  // the generator has moved on
  backward(sum(y));
  EXPECT_EQ(x.grad().to_vector<float>(), y.to_vector<float>());
}

TEST(Checkpoint, HasHigherDerivatives) {
  const Tensor x = tensor({.3, .7}, DType::f64);
  const auto f = [](Inputs in) {
    return checkpoint([](Inputs i) { return sin(i[0]) * i[1]; }, {in[0], in[1]});
  };
  for (const int order : {1, 2}) {
    const auto report = gradcheck(f, std::vector{x, tensor({1.5, -2}, DType::f64)}, {.order = order});
    EXPECT_TRUE(report.ok()) << report.failure;
  }
}

TEST(Checkpoint, NestsAndChains) {
  const auto square_twice = [](Inputs in) {
    return checkpoint(
        [](Inputs i) { return square(checkpoint([](Inputs j) { return square(j[0]); }, {i[0]})); }, {in[0]});
  };
  const auto report = gradcheck(square_twice, std::vector{tensor({1.1, -.4}, DType::f64)});
  EXPECT_TRUE(report.ok()) << report.failure;
}

TEST(Checkpoint, UnderNoGradJustRuns) {
  const NoGrad quiet;
  EXPECT_FALSE(
      checkpoint([](Inputs i) { return exp(i[0]); }, {ones({2}).set_requires_grad()}).requires_grad());
}

}  // namespace
