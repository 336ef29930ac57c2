// Matrix products and linear layers on a GPU against the CPU's in f64, on the same input bits.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ops/matmul/linear.h"
#include "tests/cuda/cuda_fixture.h"

using namespace bobbin;

namespace {

class CudaMatmul : public SeededCuda<31, false> {
  void TearDown() override { allow_tf32(false); }
};
using CudaLinear = CudaMatmul;

const Device cpu = Device::cpu();
constexpr DType floating[] = {DType::f64, DType::f32, DType::bf16, DType::f16};

// Half a step of rounding to d, relative.
double rounding(DType d) {
  return d == DType::f64 ? 0x1p-53 : d == DType::f32 ? 0x1p-24 : d == DType::bf16 ? 0x1p-8 : 0x1p-11;
}
bool narrow_type(DType d) { return d == DType::bf16 || d == DType::f16; }

using View = std::function<Tensor(const Tensor&)>;
Tensor same(const Tensor& x) { return x; }

// The largest error of the product of fa(a) and fb(b), in units of 64 roundings of the sum of magnitudes
// (and, for 16 bits, of the rounding of the result): at most 1, or something is wrong.
double error_of(const Tensor& a, const Tensor& b, const View& fa = same, const View& fb = same) {
  const Tensor got = matmul(fa(to(a, gpu)), fb(to(b, gpu)));
  const Tensor x = fa(to(a, DType::f64)), y = fb(to(b, DType::f64));
  const auto z = to(got, cpu).to_vector<double>(), exact = matmul(x, y).to_vector<double>(),
             size = matmul(abs(x), abs(y)).to_vector<double>();
  EXPECT_EQ(z.size(), exact.size());
  const DType d = a.dtype();
  const double unit = d == DType::f64 ? 0x1p-53 : 0x1p-24, last = narrow_type(d) ? 1.01 * rounding(d) : 0;
  double worst = 0;
  for (std::size_t i = 0; i < z.size(); ++i) {
    const double allowed = 64 * unit * size[i] + last * std::abs(exact[i]) + (d == DType::f16 ? 0x1p-24 : 0);
    const double error = std::abs(z[i] - exact[i]);
    if (!(error <= allowed)) return std::isnan(error) ? INFINITY : error / allowed;
    if (allowed > 0) worst = std::max(worst, error / allowed);
  }
  return worst;
}

void expect_product(const Tensor& a, const Tensor& b, const View& fa = same, const View& fb = same) {
  EXPECT_LE(error_of(a, b, fa, fb), 1) << fa(a).spec() << " by " << fb(b).spec();
}

Tensor t(const Tensor& x) { return transpose(x); }
Tensor every_other(const Tensor& x) { return slice(x, -1, 0, x.size(-1), 2); }
Tensor without_first(const Tensor& x) { return slice(slice(x, -1, 1, x.size(-1)), -2, 1, x.size(-2)); }

TEST_F(CudaMatmul, AgreesWithF64) {
  for (const DType d : floating)
    for (const auto& [n, k, m] : {std::array<std::int64_t, 3>{1, 1, 1},
                                  {1, 777, 1},
                                  {3, 1, 2},
                                  {1, 65, 129},
                                  {257, 31, 1},
                                  {7, 11, 13},
                                  {127, 257, 509},
                                  {128, 784, 256},
                                  {128, 128, 10},
                                  {250, 301, 787},
                                  {1000, 3, 1000},
                                  {64, 20000, 32}}) {
      expect_product(randn({n, k}, d), randn({k, m}, d));
      expect_product(randn({k, n}, d), randn({k, m}, d), t);
      expect_product(randn({n, k}, d), randn({m, k}, d), same, t);
      expect_product(randn({k, n}, d), randn({m, k}, d), t, t);
      expect_product(randn({n, 2 * k}, d), randn({k, 2 * m}, d), every_other, every_other);
      expect_product(randn({n + 1, k + 1}, d), randn({k + 1, m + 1}, d), without_first, without_first);
    }
}

TEST_F(CudaMatmul, AgreesWithF64WhenLarge) {
  for (const DType d : {DType::f32, DType::bf16})
    expect_product(randn({4096, 512}, d), randn({512, 4096}, d));
}

TEST_F(CudaMatmul, ReadsExpandedOperands) {
  for (const DType d : floating) {
    expect_product(
        randn({1, 30}, d), randn({30, 1}, d),
        [](auto& x) {
          return expand(x, {20, 30});
        },
        [](auto& x) {
          return expand(x, {30, 40});
        });
    expect_product(
        randn({20, 1}, d), randn({1, 1}, d),
        [](auto& x) {
          return expand(x, {20, 30});
        },
        [](auto& x) {
          return expand(x, {30, 40});
        });
  }
}

TEST_F(CudaMatmul, BroadcastsBatches) {
  for (const DType d : floating) {
    expect_product(randn({3, 1, 4, 5}, d), randn({2, 5, 6}, d));
    expect_product(randn({3, 2, 4, 5}, d), randn({5, 6}, d));
    expect_product(randn({4, 5}, d), randn({3, 2, 5, 6}, d));
    expect_product(randn({2, 1, 3, 4, 5}, d), randn({4, 1, 5, 6}, d));
    expect_product(randn({5, 3, 7, 9}, d), randn({3, 5, 9, 8}, d), [](auto& x) { return movedim(x, 0, 1); });
    expect_product(
        randn({8, 12, 3, 16}, d), randn({8, 12, 3, 16}, d),  // heads of an attention
        [](auto& x) {
          return permute(x, {0, 2, 1, 3});
        },
        [](auto& x) {
          return permute(x, {0, 2, 3, 1});
        });
    expect_product(
        randn({6, 4, 5}, d), randn({6, 5, 3}, d), [](auto& x) { return slice(x, 0, 0, 6, 2); },
        [](auto& x) { return slice(x, 0, 1, 6, 2); });
  }
  expect_product(randn({70000, 2, 3}), randn({70000, 3, 2}));
}

TEST_F(CudaMatmul, EmptySidesGiveZerosOrNothing) {
  for (const DType d : floating) {
    const Tensor y = matmul(zeros({2, 0}, d, gpu), zeros({0, 3}, d, gpu));
    EXPECT_EQ(y.to_vector<double>(), std::vector<double>(6, 0));
    EXPECT_EQ(matmul(zeros({0, 4}, d, gpu), zeros({4, 3}, d, gpu)).shape(), (Shape{0, 3}));
    EXPECT_EQ(matmul(zeros({0, 2, 4}, d, gpu), zeros({4, 3}, d, gpu)).shape(), (Shape{0, 2, 3}));
  }
}

TEST_F(CudaMatmul, RoundsToTf32OnlyWhereAllowed) {
  const Tensor a = randn({512, 256}), b = randn({256, 512});
  EXPECT_FALSE(tf32_allowed());
  EXPECT_LE(error_of(a, b), 1);
  allow_tf32(true);
  EXPECT_GT(error_of(a, b), 1);
  allow_tf32(false);
  EXPECT_LE(error_of(a, b), 1);
}

TEST_F(CudaMatmul, TwoRunsAgreeToTheBit) {
  for (const DType d : floating)
    for (const auto& [n, k, m] :
         {std::array<std::int64_t, 3>{128, 784, 256}, {10, 100000, 10}, {1, 5000, 3}, {700, 700, 700}}) {
      const Tensor a = randn({n, k}, d, gpu), b = randn({k, m}, d, gpu);
      EXPECT_EQ(matmul(a, b).to_vector<double>(), matmul(a, b).to_vector<double>());
    }
}

// Longer than a product that cuBLAS is given at once.
TEST_F(CudaMatmul, CutsVeryLongSides) {
  const std::int64_t n = (1 << 24) + 3;
  const Tensor a = randn({n, 2}), b = randn({2, 3}), y = matmul(to(a, gpu), to(b, gpu));
  for (const std::int64_t row : {std::int64_t{0}, n - 5}) {
    const auto got = narrow(y, 0, row, 5).to_vector<float>(),
               want = matmul(narrow(a, 0, row, 5), b).to_vector<float>();
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5);
  }
  Tensor x = zeros({1, n}, DType::f32, gpu);
  for (const std::int64_t i : {std::int64_t{5}, n - 4, n - 1}) narrow(x, 1, i, 1).fill_(1);
  EXPECT_EQ(matmul(x, ones({n, 1}, DType::f32, gpu)).item(), 3);
  EXPECT_EQ(matmul(ones({1, n}, DType::f32, gpu), transpose(x)).item(), 3);
  EXPECT_EQ(narrow(matmul(ones({2, 1}, DType::f32, gpu), x), 1, n - 4, 4).to_vector<float>(),
            (std::vector<float>{1, 0, 0, 1, 1, 0, 0, 1}));
}

TEST_F(CudaMatmul, DoesNotWait) {
  const Tensor a = randn({40, 50}, DType::f32, gpu).set_requires_grad(),
               b = randn({50, 60}, DType::f32, gpu).set_requires_grad(),
               w = randn({70, 60}, DType::f32, gpu).set_requires_grad(),
               v = randn({70}, DType::f32, gpu).set_requires_grad();
  const auto before = synchronizations();
  backward(linear(matmul(a, b), w, v, Activation::gelu), ones({40, 70}, DType::f32, gpu));
  EXPECT_EQ(synchronizations(), before);
}

// Results and gradients of a layer, on x's device.
std::vector<Tensor> run_layer(const std::vector<Tensor>& inputs, const Tensor& cotangent,
                              Activation activation) {
  std::vector<Tensor> leaves, out;
  for (auto& x : inputs) leaves.push_back(x ? x.detach().set_requires_grad() : x);
  const Tensor y = linear(leaves[0], leaves[1], leaves[2], activation);
  backward(y, cotangent);
  out.push_back(y.detach());
  for (auto& x : leaves)
    if (x) out.push_back(x.grad());
  return out;
}

// For relu small integers, and a bias between integers: every sum is exact and on the same side of 0.
std::vector<Tensor> layer_inputs(std::int64_t n, std::int64_t in, std::int64_t out, DType d,
                                 Activation activation, bool with_bias) {
  const bool exact = activation == Activation::relu;
  const auto draw = [&](const Shape& s) { return exact ? to(randint(-4, 5, s), d) : randn(s, d); };
  const double scale = exact ? 1 : 1 / std::sqrt(static_cast<double>(in));
  return {draw({n, in}), draw({out, in}) * scale, with_bias ? draw({out}) + .5 : Tensor()};
}

std::vector<Tensor> moved(const std::vector<Tensor>& xs, auto where) {
  std::vector<Tensor> out;
  for (auto& x : xs) out.push_back(x ? to(x, where) : x);
  return out;
}

TEST_F(CudaLinear, AgreesWithF64ForwardAndBack) {
  constexpr Activation all[] = {Activation::none, Activation::relu,    Activation::gelu,
                                Activation::tanh, Activation::sigmoid, Activation::silu};
  for (const DType d : floating)
    for (const Activation activation : all)
      for (const bool with_bias : {true, false})
        for (const auto& [n, in, out] : {std::array<std::int64_t, 3>{1, 1, 1},
                                         {5, 3, 1},
                                         {37, 65, 10},
                                         {128, 784, 256},
                                         {33, 64, 127}}) {
          SCOPED_TRACE(testing::Message()
                       << name(d) << " activation " << static_cast<int>(activation) << " bias " << with_bias
                       << " x " << n << ',' << in << " out " << out);
          const auto inputs = layer_inputs(n, in, out, d, activation, with_bias);
          const Tensor cotangent = randn({n, out}, d);
          const auto got = run_layer(moved(inputs, gpu), to(cotangent, gpu), activation),
                     want = run_layer(moved(inputs, DType::f64), to(cotangent, DType::f64), activation);
          ASSERT_EQ(got.size(), want.size());
          for (std::size_t k = 0; k < got.size(); ++k) {
            ASSERT_EQ(got[k].dtype(), d);
            const auto x = to(got[k], cpu).to_vector<double>(), y = want[k].to_vector<double>();
            double largest = 0;
            for (const double v : y) largest = std::max(largest, std::abs(v));
            const double unit = (narrow_type(d) ? 8 : 64) * rounding(d);
            int wrong = 0;
            for (std::size_t i = 0; i < x.size(); ++i)
              wrong += !(std::abs(x[i] - y[i]) <= unit * (largest + std::abs(y[i])));
            EXPECT_EQ(wrong, 0) << "of tensor " << k;
          }
        }
}

// One kernel computes both gradients, and blocks of a cluster share the long sums of one of them alone: four
// blocks of narrow tiles, two of wide ones.
TEST_F(CudaLinear, LongAndShortSumsTogether) {
  for (const auto& [n, in, out] :
       {std::array<std::int64_t, 3>{500, 65, 10}, {512, 256, 128}, {499, 255, 126}}) {
    const auto inputs = layer_inputs(n, in, out, DType::f32, Activation::relu, true);
    const Tensor cotangent = to(randint(-4, 5, {n, out}), DType::f32);  // all sums are exact
    const auto got = run_layer(moved(inputs, gpu), to(cotangent, gpu), Activation::relu),
               want = run_layer(moved(inputs, DType::f64), to(cotangent, DType::f64), Activation::relu);
    for (std::size_t k = 0; k < got.size(); ++k)
      EXPECT_EQ(got[k].to_vector<double>(), want[k].to_vector<double>())
          << "tensor " << k << " of " << n << ", " << in << ", " << out;
  }
}

// The 16-bit functions are of the sum before it is rounded: within half a step of the exact result, and a
// little for the sum.
TEST_F(CudaLinear, RoundsOnce) {
  for (const DType d : {DType::bf16, DType::f16})
    for (const Activation activation :
         {Activation::none, Activation::relu, Activation::gelu, Activation::silu}) {
      const Tensor x = randn({50, 20}, d), w = randn({30, 20}, d), b = randn({30}, d);
      const auto got = linear(to(x, gpu), to(w, gpu), to(b, gpu), activation).to_vector<double>(),
                 want = linear(to(x, DType::f64), to(w, DType::f64), to(b, DType::f64), activation)
                            .to_vector<double>();
      for (std::size_t i = 0; i < got.size(); ++i)
        EXPECT_NEAR(got[i], want[i], 1.01 * rounding(d) * std::abs(want[i]) + 2e-5)
            << name(d) << ' ' << static_cast<int>(activation);
    }
}

// The f32 sums of 16-bit factors take a bias of either type.
TEST_F(CudaLinear, WideSumsTakeANarrowBias) {
  for (const DType d : {DType::bf16, DType::f16})
    for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu}) {
      const Tensor x = to(randn({50, 20}), d), w = to(randn({30, 20}), d), b = to(randn({30}), d);
      const Tensor want = linear(to(x, DType::f64), to(w, DType::f64), to(b, DType::f64), activation);
      for (const Tensor& bias : {b, to(b, DType::f32)}) {
        const Tensor got = record(Linear{activation, true}, {to(x, gpu), to(w, gpu), to(bias, gpu)});
        ASSERT_EQ(got.dtype(), DType::f32);
        EXPECT_LT(max(abs(to(to(got, cpu), DType::f64) - want)).item(), 1e-4) << name(d);
      }
    }
}

TEST_F(CudaLinear, NoFeaturesLeaveTheBias) {
  for (const DType d : floating) {
    const Tensor b = tensor({-1, 2, 3}, d, gpu), x = zeros({2, 0}, d, gpu), w = zeros({3, 0}, d, gpu);
    EXPECT_EQ(linear(x, w, b, Activation::relu).to_vector<double>(), (std::vector<double>{0, 2, 3, 0, 2, 3}));
    EXPECT_EQ(linear(x, w).to_vector<double>(), std::vector<double>(6, 0));
    EXPECT_EQ(linear(zeros({0, 4}, d, gpu), zeros({3, 4}, d, gpu), b).shape(), (Shape{0, 3}));
  }
}

TEST_F(CudaLinear, NaNPassesThroughRelu) {
  for (const DType d : floating)
    for (const bool with_bias : {true, false}) {
      Tensor x = ones({4, 8}, d, gpu);
      narrow(x, 0, 1, 1).fill_(NAN);
      const auto y =
          linear(x, -1 * ones({16, 8}, d, gpu), with_bias ? ones({16}, d, gpu) : Tensor(), Activation::relu)
              .to_vector<double>();
      for (std::size_t i = 0; i < y.size(); ++i)
        if (i / 16 == 1)
          EXPECT_TRUE(std::isnan(y[i])) << name(d);
        else
          EXPECT_EQ(y[i], 0) << name(d);
    }
}

TEST_F(CudaLinear, TwoRunsAgreeToTheBit) {
  for (const DType d : floating) {
    const std::vector<Tensor> inputs{randn({3000, 100}, d, gpu), randn({60, 100}, d, gpu),
                                     randn({60}, d, gpu)};
    const Tensor cotangent = randn({3000, 60}, d, gpu);
    const auto one = run_layer(inputs, cotangent, Activation::relu),
               two = run_layer(inputs, cotangent, Activation::relu);
    for (std::size_t k = 0; k < one.size(); ++k)
      EXPECT_EQ(one[k].to_vector<double>(), two[k].to_vector<double>()) << name(d) << " tensor " << k;
  }
}

// A recorded derivative, and those of some inputs alone, go other ways than both gradients in one product.
TEST_F(CudaLinear, EachGradientIsTheSameOnItsOwn) {
  const std::vector<Tensor> inputs{randn({40, 30}), randn({20, 30}), randn({20})};
  const Tensor cotangent = randn({40, 20});
  for (const Activation activation : {Activation::tanh, Activation::gelu, Activation::silu}) {
    const auto all = run_layer(moved(inputs, gpu), to(cotangent, gpu), activation);
    for (std::size_t k = 0; k < 3; ++k) {
      auto xs = moved(inputs, gpu);
      xs[k].set_requires_grad();
      const Tensor y = linear(xs[0], xs[1], xs[2], activation);
      for (const CreateGraph create : {CreateGraph::no, CreateGraph::yes}) {
        const auto got = grad(y, std::span(&xs[k], 1), to(cotangent, gpu), create, Retain::yes)[0]
                             .to_vector<float>(),
                   want = all[k + 1].to_vector<float>();
        for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-4);
      }
    }
  }
}

// Products of 16 bits that are large enough for copies of operands whose sizes or strides are odd.
TEST_F(CudaMatmul, OddSizesOfNarrowTypes) {
  for (const DType d : {DType::bf16, DType::f16})
    for (const auto& [n, k, m] : {std::array<std::int64_t, 3>{700, 264, 1001},
                                  {704, 333, 1000},
                                  {703, 331, 1003},
                                  {1001, 800, 264}}) {
      const Tensor a = randn({n, k}, DType::f32), b = randn({k, m}, DType::f32);
      const auto of = [&](const Tensor& x) { return to(x, d); };
      expect_product(of(a), of(b));
      expect_product(of(t(a)), of(b), t);
      expect_product(of(a), of(t(b)), same, t);
      expect_product(of(t(a)), of(t(b)), t, t);
      expect_product(of(a), of(randn({k - 1, m}, DType::f32)), without_first);
    }
}

// The bias and the sums of rows of such a product.
TEST_F(CudaLinear, OddSizesOfNarrowTypes) {
  for (const Activation activation : {Activation::none, Activation::gelu}) {
    const Tensor x = to(randn({704, 333}), DType::bf16), w = to(randn({1001, 333}) / 18, DType::bf16),
                 bias = to(randn({1001}), DType::bf16), up = to(randn({704, 1001}), DType::bf16);
    std::vector<Tensor> here, there;
    for (const Tensor& y : {x, w, bias}) {
      here.push_back(to(y, gpu).set_requires_grad());
      there.push_back(to(y, DType::f64).set_requires_grad());
    }
    const Tensor got = linear(here[0], here[1], here[2], activation),
                 want = linear(there[0], there[1], there[2], activation);
    auto results = grad(got, here, to(up, gpu)), right = grad(want, there, to(up, DType::f64));
    results.push_back(got);
    right.push_back(want);
    for (std::size_t i = 0; i < results.size(); ++i) {
      const Tensor error = abs(to(to(results[i].detach(), cpu), DType::f64) - right[i].detach());
      EXPECT_LE(max(error).item(), 0x1p-7 * max(abs(right[i].detach())).item()) << i;
    }
  }
}

}  // namespace
