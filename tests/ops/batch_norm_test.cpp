// batch_norm at the edges of its range, against the definition in long double; its running statistics.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "tests/ops/expect_values.h"

using namespace bobbin;

namespace {

using Number = long double;

const BatchNormOptions training{.training = true};

// Compares result and gradient of each channel of x [images, channels, size] with the definition, to
// `tolerance` of the largest element.
void check(const Tensor& x_given, double tolerance, const std::string& what) {
  const DType d = x_given.dtype();
  const std::int64_t images = x_given.size(0), channels = x_given.size(1), size = x_given.size(2);
  manual_seed(5);
  const Tensor x = x_given.detach().set_requires_grad(), g = uniform(x.shape(), -1, 1, d),
               w = uniform({channels}, 0.5, 1.5, d), b = uniform({channels}, -1, 1, d);
  const Tensor y = batch_norm(x, zeros({channels}, d), ones({channels}, d), w, b, training);
  const auto got = y.to_vector<double>(), at = x.to_vector<double>(), cotangent = g.to_vector<double>(),
             weight = w.to_vector<double>(), bias = b.to_vector<double>(),
             gradient = grad(y, {x}, g)[0].to_vector<double>();
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto k = static_cast<std::size_t>(c);
    std::vector<std::size_t> own;
    for (std::int64_t i = 0; i < images * size; ++i)
      own.push_back(static_cast<std::size_t>((i / size * channels + c) * size + i % size));
    const Number count = static_cast<Number>(own.size());
    Number mean = 0, variance = 0, all = 0, along = 0, largest = 0;
    for (const std::size_t i : own) mean += at[i] / count;
    for (const std::size_t i : own) variance += (at[i] - mean) * (at[i] - mean) / count;
    const Number s = std::sqrt(variance + 1e-5L);
    for (const std::size_t i : own) {
      all += cotangent[i] / count;
      along += cotangent[i] * (at[i] - mean) / s / count;
    }
    for (const std::size_t i : own) {
      const Number n = (at[i] - mean) / s, want = (cotangent[i] - all - n * along) * weight[k] / s;
      EXPECT_NEAR(got[i], static_cast<double>(n * weight[k] + bias[k]), 4 * tolerance) << what;
      largest = std::max(largest, std::abs(want));
    }
    for (const std::size_t i : own) {
      const Number n = (at[i] - mean) / s, want = (cotangent[i] - all - n * along) * weight[k] / s;
      EXPECT_LE(std::abs(static_cast<double>(gradient[i] - want)),
                static_cast<double>(4 * tolerance * largest) + 0x1p-149)
          << what;
    }
  }
}

TEST(BatchNorm, ChannelsOfEveryScale) {
  for (const int exponent : {-100, -30, 0, 30, 66, 100, 120}) {
    manual_seed(2);
    check(randn({3, 2, 5}) * std::ldexp(1, exponent), 1e-6, "f32, 2^" + std::to_string(exponent));
    check(randn({3, 2, 5}, DType::f64) * std::ldexp(1, 8 * exponent), 1e-14,
          "f64, 2^" + std::to_string(8 * exponent));
  }
}

TEST(BatchNorm, ChannelsFarFromZero) {
  for (const double offset : {100.0, 10000.0}) {
    manual_seed(3);
    const Tensor steps = to(randint(-3000, 3000, {4, 2, 50}), DType::f64) * 0x1p-10;
    check(to(steps + offset, DType::f32), 1e-6, "at " + std::to_string(offset));
  }
}

TEST(BatchNorm, NarrowTypes) {
  for (const DType d : {DType::bf16, DType::f16}) {
    manual_seed(4);
    check(randn({4, 2, 20}, d), d == DType::bf16 ? 0x1p-7 : 0x1p-10, "narrow");
  }
  manual_seed(4);
  check(randn({2, 1, 40000}, DType::f16), 0x1p-10, "f16, 80000 elements");
}

TEST(BatchNorm, SecondDerivativesOfLargeChannels) {
  manual_seed(6);
  const Tensor at = randn({3, 2, 4}, DType::f64), v = randn({3, 2, 4}, DType::f64),
               u = randn({3, 2, 4}, DType::f64);
  const auto second = [&](double scale, DType d) {
    const Tensor x = to(at * scale, d).set_requires_grad();
    const Tensor y = batch_norm(x, zeros({2}, d), ones({2}, d), {}, {}, {.training = true, .eps = 0});
    const Tensor first = grad(y, {x}, to(v, d), CreateGraph::yes)[0];
    return grad(first, {x}, to(u * scale, d))[0].to_vector<double>();
  };
  const auto want = second(1, DType::f64), large = second(0x1p66, DType::f32),
             tiny = second(0x1p-66, DType::f32);
  for (std::size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(large[i] * 0x1p66, want[i], 1e-4) << i;
    EXPECT_NEAR(tiny[i] * 0x1p-66, want[i], 1e-4) << i;
  }
}

TEST(BatchNorm, AChannelWithNaNIsNaNAlone) {
  for (const double bad :
       {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    Tensor x = randn({3, 2, 4});
    narrow(reshape(x, {24}), 0, 5, 1).fill_(bad);
    const auto y = batch_norm(x, zeros({2}), ones({2}), {}, {}, training).to_vector<double>();
    for (std::size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / 4 % 2 == 1) << i;
  }
}

// The running statistics are computed in f32 and rounded once.
TEST(BatchNorm, RunningStatisticsInNarrowTypes) {
  for (const DType d : {DType::bf16, DType::f16}) {
    Tensor mean = full({1}, 1.5, d), var = full({1}, 3.25, d);
    const Tensor x = to(tensor({{1}, {2}, {4}, {9}}), d);  // mean 4, variance with Bessel's correction 38/3
    batch_norm(x, mean, var, {}, {}, {.training = true, .momentum = 0.3});
    EXPECT_EQ(mean.item(), to(tensor({0.7 * 1.5 + 0.3 * 4}), d).item());
    EXPECT_EQ(var.item(), to(tensor({0.7 * 3.25 + 0.3 * 38 / 3}), d).item());
  }
}

TEST(BatchNorm, RunningStatisticsOfLargeChannels) {
  Tensor mean = zeros({1}), var = zeros({1});
  batch_norm(tensor({{1}, {3}}) * 0x1p60, mean, var, {}, {}, {.training = true, .momentum = 1});
  EXPECT_EQ(mean.item(), 0x1p61);
  EXPECT_EQ(var.item(), 0x1p121);
}

// The backward pass of checkpoint() runs the function again, which does not count as a further batch.
TEST(BatchNorm, CheckpointMovesRunningStatisticsOnce) {
  manual_seed(8);
  const Tensor data = randn({8, 3});
  const auto statistics = [&](bool saves_memory, bool nested) {
    nn::BatchNorm norm(3);
    const Tensor x = data.detach().set_requires_grad();
    const auto f = [&](Inputs in) { return tanh(norm(in[0])); };
    const auto g = [&](Inputs in) { return nested ? checkpoint(f, {in[0]}) : f(in); };
    for (int step = 0; step < 3; ++step)
      backward(sum(square(saves_memory ? checkpoint(g, {x}) : f(std::vector{x}))));
    auto out = norm.running_mean.to_vector<float>();
    for (const float v : norm.running_var.to_vector<float>()) out.push_back(v);
    for (const float v : x.grad().to_vector<float>()) out.push_back(v);
    return out;
  };
  const auto plain = statistics(false, false);
  EXPECT_EQ(statistics(true, false), plain);
  EXPECT_EQ(statistics(true, true), plain);
}

}  // namespace
