// The gradient check must catch what is wrong: each operation here has a planted mistake.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

using namespace bobbin;

namespace {

enum class Mistake { none, zero, factor, sign, one_element, nan };

struct Cube {
  Mistake mistake = Mistake::none;
  static constexpr std::string_view name = "test.cube";
  static constexpr Saves saves = Saves::inputs;
  TensorSpec infer(Inputs x) const { return x[0].spec(); }
  void cpu(Inputs x, Tensor& y) const {
    for (std::size_t i = 0; i < y.data<double>().size(); ++i) {
      const double v = x[0].data<double>()[i];
      y.mutable_data<double>()[i] = v * v * v;
    }
  }
  Grads vjp(const Vjp& v) const {
    const Tensor g = v.grad * square(v.input(0)) * 3;
    switch (mistake) {
      case Mistake::none:
        break;
      case Mistake::zero:
        return {zeros_like(g)};
      case Mistake::factor:
        return {g * (1 + 1e-6)};
      case Mistake::sign:
        return {-g};
      case Mistake::one_element:
        return {g * tensor({1, 1, 0}, DType::f64)};
      case Mistake::nan:
        return {g * std::numeric_limits<double>::quiet_NaN()};
    }
    return {g};
  }
};

bool passes(Mistake m, int order = 1) {
  const Tensor x = tensor({1.2, -.7, .9}, DType::f64);
  return gradcheck([m](Inputs in) { return record(Cube{m}, {in[0]}); }, std::vector{x}, {.order = order}).ok;
}

TEST(Gradcheck, PassesARightDerivative) {
  EXPECT_TRUE(passes(Mistake::none));
  EXPECT_TRUE(passes(Mistake::none, 2));
}

TEST(Gradcheck, CatchesEveryPlantedMistake) {
  for (const Mistake m : {Mistake::zero, Mistake::factor, Mistake::sign, Mistake::one_element, Mistake::nan})
    EXPECT_FALSE(passes(m)) << static_cast<int>(m);
}

struct Dead {
  static constexpr std::string_view name = "test.dead_softmax";
  TensorSpec infer(Inputs x) const { return x[0].spec(); }
  void cpu(Inputs x, Tensor& y) const { y.copy_(softmax(x[0].detach())); }
  Grads vjp(const Vjp& v) const { return {zeros_like(v.grad)}; }
};

// The sum of a softmax is constant, so a cotangent of ones would pass a derivative of zero.
TEST(Gradcheck, ASoftmaxWithoutGradientFails) {
  EXPECT_FALSE(
      gradcheck([](Inputs in) { return record(Dead{}, {in[0]}); }, std::vector{randn({2, 3}, DType::f64)})
          .ok);
}

TEST(Gradcheck, WantsF64) {
  EXPECT_THROW(gradcheck([](Inputs in) { return exp(in[0]); }, std::vector{tensor({1})}), DTypeError);
}

TEST(Gradcheck, ChecksWholeModels) {
  manual_seed(4);
  const nn::Linear layer(3, 4, true, DType::f64);
  const Tensor t = tensor({1, 0}, DType::i64);
  const auto f = [&](Inputs in) { return cross_entropy(linear(in[0], in[1], in[2], Activation::tanh), t); };
  for (const int order : {1, 2}) {
    const auto report =
        gradcheck(f, std::vector{randn({2, 3}, DType::f64), layer.weight, layer.bias}, {.order = order});
    EXPECT_TRUE(report.ok) << report.failure;
    EXPECT_EQ(report.elements, 6 + 12 + 4);
  }
}

TEST(RegisterOp, RefusesATakenName) {
  EXPECT_THROW(register_op({"softmax"}), ValueError);
  register_op<Cube>();
  EXPECT_EQ(all_ops().back().name, "test.cube");
  EXPECT_THROW(register_op<Cube>(), ValueError);
}

}  // namespace
