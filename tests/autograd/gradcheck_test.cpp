// Tests gradcheck on operations with a mistake in their derivative, which it must find.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
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
  return gradcheck([m](Inputs in) { return record(Cube{m}, {in[0]}); }, std::vector{x}, {.order = order})
      .ok();
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
          .ok());
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
    EXPECT_TRUE(report.ok()) << report.failure;
    EXPECT_EQ(report.elements, 6 + 12 + 4 + (order == 2));  // and the cotangent
  }
}

// Draws other numbers in each call, unless the generator is where it was.
struct Noisy {
  std::uint64_t* calls;
  static constexpr std::string_view name = "test.noisy";
  TensorSpec infer(Inputs x) const { return x[0].spec(); }
  void cpu(Inputs x, Tensor& y) const { y.copy_(x[0].detach()); }
  Grads vjp(const Vjp& v) const {
    ++*calls;
    return {v.grad * (1 + (*calls % 8 == 0 ? 1e-16 : 0.0) + 0x1p-52 * static_cast<double>(*calls % 2))};
  }
};

TEST(Gradcheck, TwoWalksMustGiveTheSameBits) {
  std::uint64_t calls = 0;
  const auto report = gradcheck([&](Inputs in) { return record(Noisy{&calls}, {in[0]}); },
                                std::vector{tensor({.5, 3}, DType::f64)});
  EXPECT_FALSE(report.ok());
  EXPECT_NE(report.failure.find("than the first"), std::string::npos) << report.failure;
  EXPECT_EQ(report.verdict, Verdict::nondeterministic);
}

TEST(Gradcheck, ADropoutIsGivenTheSameNumbersAgain) {
  const auto report =
      gradcheck([](Inputs in) { return dropout(in[0], .5) * in[0]; }, std::vector{randn({3, 4}, DType::f64)});
  EXPECT_TRUE(report.ok()) << report.failure;
}

// Writes through a view into what it saved.
struct Spoils {
  static constexpr std::string_view name = "test.spoils";
  static constexpr Saves saves = Saves::inputs;
  TensorSpec infer(Inputs x) const { return x[0].spec(); }
  void cpu(Inputs x, Tensor& y) const { y.copy_(square(x[0].detach())); }
  Grads vjp(const Vjp& v) const {
    const Grads g{v.grad * v.input(0) * 2};
    Tensor kept = v.input(0).detach();
    const_cast<double*>(kept.data<double>().data())[0] += 1;
    return g;
  }
};

TEST(Gradcheck, WhatWasSavedMustStayAsItIs) {
  const auto report = gradcheck([](Inputs in) { return record(Spoils{}, {in[0]}); },
                                std::vector{tensor({.5, 3}, DType::f64)}, {.repeats = 1});
  EXPECT_FALSE(report.ok());
}

// Writes beyond its output.
struct Spills {
  static constexpr std::string_view name = "test.spills";
  TensorSpec infer(Inputs x) const { return x[0].spec(); }
  void cpu(Inputs x, Tensor& y) const {
    y.copy_(x[0].detach());
    y.mutable_data<double>().data()[y.numel()] = 0;
  }
  Grads vjp(const Vjp& v) const { return {v.grad}; }
};

#if !defined(__SANITIZE_ADDRESS__)  // which ends the process at such a write
TEST(Gradcheck, NothingMayBeWrittenBeyondATensor) {
  // Blocks are of whole cache lines: outside the check, the write harms nobody.
  const auto report =
      gradcheck([](Inputs in) { return record(Spills{}, {in[0]}); }, std::vector{randn({3}, DType::f64)});
  EXPECT_EQ(report.verdict, Verdict::fail);
  EXPECT_NE(report.failure.find("beyond"), std::string::npos) << report.failure;
}
#endif

TEST(Gradcheck, KinksByChanceAreMovedAway) {
  const auto report =
      gradcheck([](Inputs in) { return relu(in[0]); }, std::vector{tensor({1, 0, -1, 2}, DType::f64)});
  EXPECT_TRUE(report.ok()) << report.failure;
}

TEST(Gradcheck, KinksOnPurposeMustFollowTheRule) {
  const std::vector x{tensor({1, 0, -1}, DType::f64)};
  const auto f = [](Inputs in) { return relu(in[0]); };
  EXPECT_TRUE(gradcheck(f, x, {.at_kinks = tensor({1, 0, 0}, DType::f64)}).ok());
  EXPECT_FALSE(gradcheck(f, x, {.at_kinks = tensor({1, .5, 0}, DType::f64)}).ok());
  EXPECT_THROW(gradcheck(f, x, {.at_kinks = tensor({1, 0}, DType::f64)}), ShapeError);
}

TEST(Gradcheck, SaysWhatItCannotJudge) {
  EXPECT_EQ(gradcheck([](Inputs in) { return in[0]; }, std::vector{zeros({0}, DType::f64)}).verdict,
            Verdict::skip);
  // Rough beyond measure: a staircase on a slope.
  const auto rough = gradcheck([](Inputs in) { return in[0] + to(to(in[0] * 1e3, DType::f32), DType::f64); },
                               std::vector{tensor({.3}, DType::f64)});
  EXPECT_FALSE(rough.ok());
}

TEST(Gradcheck, ListsTheTenWorst) {
  const auto report =
      gradcheck([](Inputs in) { return record(Dead{}, {in[0]}); }, std::vector{randn({4, 5}, DType::f64)});
  ASSERT_EQ(report.mismatches.size(), 10U);
  ASSERT_EQ(report.errors.size(), 1U);
  EXPECT_EQ(report.errors[0].size(), 20U);
  EXPECT_THAT(describe(report.mismatches[0]),
              testing::ContainsRegex("input 0\\[[0-3],[0-4]\\] \\(flat [0-9]+\\)"));
}

TEST(Taylor, TheRemainderOfARightGradientFallsByFour) {
  const Tensor x = randn({5, 3}, DType::f64), t = tensor({0, 1, 2, 1, 0}, DType::i64);
  const std::vector w{randn({4, 3}, DType::f64), randn({3, 4}, DType::f64)};
  const auto right =
      taylor_test([&](Inputs p) { return cross_entropy(linear(tanh(linear(x, p[0])), p[1]), t); }, w);
  EXPECT_TRUE(right.ok()) << right.slope;
  EXPECT_GE(right.steps.size(), 7U);
  const auto wrong = taylor_test([&](Inputs p) { return sum(record(Cube{Mistake::one_element}, {p[0]})); },
                                 std::vector{tensor({1.2, -.7, .9}, DType::f64)});
  EXPECT_FALSE(wrong.ok()) << wrong.slope;
}

TEST(RegisterOp, RefusesATakenName) {
  EXPECT_THROW(register_op({"softmax"}), ValueError);
  register_op<Cube>();
  EXPECT_EQ(all_ops().back().name, "test.cube");
  EXPECT_THROW(register_op<Cube>(), ValueError);
}

}  // namespace
