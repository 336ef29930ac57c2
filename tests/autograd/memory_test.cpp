// The memory that the tape holds, measured by the allocator's counters.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

using namespace bobbin;

namespace {

std::int64_t live() { return allocator().stats().bytes_live; }

constexpr std::int64_t n = 256, block = n * n * 4;

Tensor leaf(const Shape& s) { return randn(s).set_requires_grad(); }

// Bytes the tape keeps of y = f(x) beyond x and y themselves, and once y is gone, beyond x.
struct Held {
  std::int64_t beside_output, without_output;
};
template<class F>
Held held(F&& f) {
  const Tensor x = leaf({n, n});
  const std::int64_t before = live();
  Tensor y = f(x), top = sum(y);  // `top` keeps the tape
  const std::int64_t with = live() - before - block - 64;
  y = Tensor();
  return {with, live() - before - 64};
}

TEST(TapeMemory, SoftmaxKeepsItsOutputAlone) {
  const Held h = held([](const Tensor& x) { return softmax(x); });
  EXPECT_EQ(h.beside_output, 0);
  EXPECT_EQ(h.without_output, block);
  // X itself is not kept: when its last handle goes, so do its elements.
  const std::int64_t before = live();
  Tensor x = leaf({n, n}), scaled = x * 2, y = softmax(scaled);
  scaled = Tensor();
  EXPECT_EQ(live() - before, 2 * block + 64) << "x, y and the factor 2";
}

TEST(TapeMemory, AddKeepsNothing) {
  EXPECT_EQ(held([](const Tensor& x) { return x + x; }).without_output, 0);
  EXPECT_EQ(held([](const Tensor& x) { return reshape(x, {-1}); }).without_output, 0);
}

TEST(TapeMemory, AProductKeepsAFactorOnlyForTheOther) {
  const std::int64_t before = live();
  Tensor x = leaf({n, n}), constant = randn({n, n}), y = x * constant;
  constant = Tensor();
  EXPECT_EQ(live() - before, 3 * block) << "the constant is kept for x";
  Tensor z = leaf({n, n});
  {
    Tensor other = randn({n, n});
    y = matmul(other, z);
  }
  EXPECT_EQ(live() - before, 4 * block)
      << "x, z, y and the constant factor of z; the earlier product is gone";
}

TEST(TapeMemory, CrossEntropyKeepsNoProbabilities) {
  const Tensor x = leaf({n, n}), t = randint(0, n, {n});
  const std::int64_t before = live();
  const Tensor loss = cross_entropy(x, t);
  EXPECT_EQ(live() - before, 64);
}

TEST(TapeMemory, DropoutKeepsNoMask) {
  EXPECT_EQ(held([](const Tensor& x) { return dropout(x, .5); }).without_output, 0);
}

TEST(TapeMemory, NothingIsHeldOnceBackwardHasPassed) {
  const std::int64_t before = live();
  {
    const Tensor x = leaf({n, n}), w = leaf({n, n});
    Tensor loss = sum(tanh(matmul(softmax(x), w)));
    EXPECT_GT(live() - before, 4 * block);
    backward(loss);
    EXPECT_EQ(live() - before, 4 * block + 64) << "two leaves, their gradients and the loss";
  }
  EXPECT_EQ(live(), before);
}

// Each gradient takes the place of what was saved for it.
TEST(TapeMemory, BackwardFreesTheTapeAsItGoes) {
  const Tensor x = leaf({n, n});
  Tensor y = x;
  for (int i = 0; i < 20; ++i) y = tanh(y);
  y = sum(y);
  const std::int64_t before = live();
  allocator().reset_peak();
  backward(y);
  EXPECT_LE(allocator().stats().bytes_peak - before, 3 * block);
}

TEST(TapeMemory, ATrainingStepInItsSteadyStateAsksTheSystemForNothing) {
  if (const char* v = std::getenv("BOBBIN_CACHE"); v && std::string(v) == "0")
    GTEST_SKIP() << "BOBBIN_CACHE=0";
  const nn::Linear first(64, 128), second(128, 10);
  optim::Adam adam({first.weight, first.bias, second.weight, second.bias});
  const Tensor x = randn({32, 64}), t = randint(0, 10, {32});
  const auto step = [&] {
    adam.zero_grad();
    backward(cross_entropy(second(dropout(first(x, Activation::relu), .1)), t));
    adam.step();
  };
  for (int i = 0; i < 5; ++i) step();
  const auto before = allocator().stats();
  for (int i = 0; i < 50; ++i) step();
  const auto after = allocator().stats();
  EXPECT_EQ(after.system_calls, before.system_calls);
  EXPECT_EQ(after.bytes_live, before.bytes_live);
}

}  // namespace
