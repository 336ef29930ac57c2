// AnomalyMode: the operation that made the first NaN or infinity is named.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

using namespace bobbin;

namespace {

template<class F>
std::string anomaly(F&& f) {
  const AnomalyMode mode;
  try {
    f();
  } catch (const AnomalyError& e) {
    return e.what();
  }
  return "nothing thrown";
}

TEST(Anomaly, NamesTheForwardOpAndIndex) {
  EXPECT_EQ(anomaly([] {
              log(tensor({{1, 2}, {-1, 3}}));
            }),
            "log: its output is NaN at flat index 2 of f32[2,2]");
  EXPECT_EQ(anomaly([] {
              reciprocal(tensor({1, 0}));
            }),
            "reciprocal: its output is Inf at flat index 1 of f32[2]");
}

TEST(Anomaly, TellsWhatCameInAlready) {
  EXPECT_EQ(anomaly([] {
              neg(tensor({0, std::numeric_limits<double>::quiet_NaN()}));
            }),
            "neg: its input 0 already is NaN at flat index 1 of f32[2]");
}

TEST(Anomaly, NamesTheDerivativeAndIndex) {
  const Tensor x = tensor({1, 0}).set_requires_grad();
  EXPECT_EQ(anomaly([&] { backward(sum(sqrt(x))); }),
            "derivative of sqrt: sqrt_backward: its output is Inf at flat index 1 of f32[2]");
}

struct Quiet {  // whose derivative goes wrong without a recorded operation
  static constexpr std::string_view name = "quiet";
  TensorSpec infer(Inputs x) const { return x[0].spec(); }
  void cpu(Inputs x, Tensor& y) const { y.copy_(x[0]); }
  Grads vjp(const Vjp& v) const { return {full_like(v.grad, std::numeric_limits<double>::quiet_NaN())}; }
};

TEST(Anomaly, ChecksGradientsThatNoOperationMade) {
  const Tensor x = tensor({1, 2}).set_requires_grad();
  EXPECT_EQ(anomaly([&] { backward(sum(record(Quiet{}, {x}))); }),
            "derivative of quiet: the gradient of its input 0 is NaN at flat index 0 of f32[2]");
}

TEST(Anomaly, IsOffByDefaultAndAfterwards) {
  { const AnomalyMode mode; }
  EXPECT_NO_THROW(log(tensor({-1})));
}

}  // namespace
