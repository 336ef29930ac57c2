// Mixed precision: products in a 16-bit type, all other operations in f32.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

using namespace bobbin;

namespace {

TEST(Autocast, RoundsWhatProductsReadAndGivesF32) {
  manual_seed(1);
  const Tensor x = randn({4, 8}), w = randn({8, 3});
  const auto narrow = [](const Tensor& t) { return to(to(t, DType::bf16), DType::f32); };
  const Tensor want = to(matmul(to(x, DType::bf16), to(w, DType::bf16)), DType::f32);
  {
    const Autocast scope(DType::bf16);
    const Tensor y = matmul(x, w);
    EXPECT_EQ(y.dtype(), DType::f32);
    EXPECT_EQ(y.to_vector<float>(), want.to_vector<float>());
    EXPECT_EQ(exp(x).to_vector<float>(), [&] {
      const Autocast off(DType::f32);
      return exp(x).to_vector<float>();
    }());
    EXPECT_EQ(matmul(to(x, DType::f64), to(w, DType::f64)).dtype(), DType::f64);
    const Autocast off(DType::f32);
    EXPECT_NE(matmul(x, w).to_vector<float>(), want.to_vector<float>());
  }
  EXPECT_EQ(autocast_dtype(), DType::f32);
  EXPECT_NE(matmul(x, w).to_vector<float>(), matmul(narrow(x), narrow(w)).to_vector<float>());
  EXPECT_THROW(Autocast(DType::i64), DTypeError);
}

TEST(Autocast, CheckpointsComputeAgainInTheSameType) {
  manual_seed(2);
  const Tensor x = randn({4, 8}).set_requires_grad(), w = randn({8, 3}).set_requires_grad();
  const auto f = [](Inputs in) { return tanh(matmul(in[0], in[1])); };
  const auto gradient = [&](bool again) {
    Tensor y;
    {
      const Autocast scope(DType::bf16);
      const Tensor inputs[] = {x, w};
      y = again ? checkpoint(f, inputs) : f(inputs);
    }
    return grad(sum(y), {w})[0].to_vector<float>();
  };
  EXPECT_EQ(gradient(true), gradient(false));
}

// f32 parameters, f16 products, a scaled loss.
TEST(Autocast, TrainsWithAGradScaler) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    manual_seed(3);
    const Tensor x = randn({128, 2}), t = to(gt(select(x, 1, 0) * select(x, 1, 1), zeros({})), DType::i64);
    nn::Sequential model(nn::Linear(2, 32), tanh, nn::Linear(32, 2));
    optim::AdamW adam(nn::parameters(model), {.lr = .02});
    optim::GradScaler scaler;
    double last = 0;
    for (int i = 0; i < 150; ++i) {
      const Tensor loss = [&] {
        const Autocast narrow(dtype);
        return cross_entropy(model(x), t);
      }();
      adam.zero_grad();
      backward(scaler.scale(loss));
      scaler.step(adam);
      last = loss.item();
    }
    EXPECT_EQ(nn::parameters(model)[0].dtype(), DType::f32);
    EXPECT_LT(last, .15) << name(dtype);
  }
}

}  // namespace
