// linear_cross_entropy against linear and cross_entropy in f64, closed forms, and the memory that it takes.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/expect_relative.h"
#include "tests/ops/expect_values.h"

using namespace bobbin;

namespace {

Tensor exact(const Tensor& x) { return x && is_floating(x.dtype()) ? to(x.detach(), DType::f64) : x; }

// The losses, and the gradients of x and of the weight for these cotangents.
std::vector<Tensor> results(const Tensor& x, const Tensor& w, const Tensor& t, CrossEntropyOptions o,
                            std::int64_t rows, bool composed, double cotangent) {
  const Tensor a = x.detach().set_requires_grad(), b = w.detach().set_requires_grad();
  if (o.weight) o.weight = to(o.weight, x.dtype());
  const Tensor loss =
      composed ? cross_entropy(linear(a, b), t, o) : linear_cross_entropy(a, b, t, o, {.rows = rows});
  auto out = grad(loss, {a, b}, full_like(loss.detach(), cotangent));
  out.insert(out.begin(), loss.detach());
  return out;
}

void expect_close(const std::vector<Tensor>& got, const std::vector<Tensor>& want, double relative) {
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].shape(), want[i].shape());
    const Tensor error = abs(exact(got[i]) - exact(want[i]));
    const double size = want[i].numel() > 0 ? max(abs(exact(want[i]))).item() : 0;
    if (size != size) {
      expect_values(got[i], want[i].to_vector<double>());
      continue;
    }
    if (error.numel() == 0) continue;
    EXPECT_LE(max(error).item(), relative * size) << (i == 0 ? "loss" : i == 1 ? "x" : "weight");
  }
}

TEST(LinearCrossEntropy, IsLinearAndCrossEntropy) {
  manual_seed(3);
  constexpr std::int64_t n = 37, in = 9, classes = 21;
  const Tensor x = randn({n, in}, DType::f64), w = randn({classes, in}, DType::f64),
               t = randint(0, classes, {n}),
               some =
                   where(lt(uniform({n}, 0, 1, DType::f64), scalar(.3, x)), full({n}, -100, DType::i64), t),
               p = softmax(randn({n, classes}, DType::f64), 1),
               weight = uniform({classes}, .5, 2, DType::f64);
  for (const Reduction r : {Reduction::none, Reduction::mean, Reduction::sum})
    for (const bool weighted : {false, true})
      for (const double smoothing : {0., .2})
        for (const Tensor& target : {t, some, p})
          for (const std::int64_t rows : {0, 1, 8, 36, 37, 100}) {
            CrossEntropyOptions o{.label_smoothing = smoothing, .reduction = r};
            if (weighted) o.weight = weight;
            for (const double cotangent : {1., -2.5})
              expect_close(results(x, w, target, o, rows, false, cotangent),
                           results(x, w, target, o, rows, true, cotangent), 1e-13);
          }
}

// The composed loss of 16-bit types takes rounded logits, and rounds their gradient.
TEST(LinearCrossEntropy, NarrowTypesAreRoundedAtTheEndAlone) {
  manual_seed(4);
  for (const DType type : {DType::f32, DType::bf16, DType::f16})
    for (const Reduction r : {Reduction::none, Reduction::mean}) {
      const Tensor x = to(randn({50, 40}) * 2, type), w = to(randn({33, 40}) * 2, type),
                   t = randint(0, 33, {50});
      const CrossEntropyOptions o{.reduction = r};
      const auto got = results(x, w, t, o, 16, false, 1);
      for (const Tensor& y : got) EXPECT_EQ(y.dtype(), type);
      expect_close(got, results(exact(x), exact(w), t, o, 16, true, 1),
                   type == DType::f32 ? 4e-6 : 1.01 * unit_roundoff(type));
    }
}

// Logits 300.5 and 300, which bf16 has not: the loss is log(1 + exp(-1/2)).
TEST(LinearCrossEntropy, LogitsAreNotRounded) {
  const Tensor x = to(tensor({{300, .5}}), DType::bf16).set_requires_grad(),
               w = to(tensor({{1, 1}, {1, 0}}), DType::bf16).set_requires_grad();
  const Tensor loss = linear_cross_entropy(x, w, tensor({0}, DType::i64));
  const double p = 1 / (1 + std::exp(-.5));
  EXPECT_NEAR(loss.item(), std::log1p(std::exp(-.5)), 0x1p-9);
  backward(loss);
  expect_values(x.grad(), {0, p - 1}, 0x1p-9);
  expect_values(w.grad(), {300 * (p - 1), .5 * (p - 1), 300 * (1 - p), .5 * (1 - p)}, 0x1p-8);
}

// A mean of many rows has gradients below f16's least number; those of a scaled loss are numbers of f16.
TEST(LinearCrossEntropy, ALossScaleReachesGradientsThatF16CannotHold) {
  constexpr std::int64_t n = 4096;
  const Tensor x = to(full({n, 1}, 1), DType::f16).set_requires_grad(),
               w = to(tensor({{0}, {0}}), DType::f16).set_requires_grad();
  // d loss / dx = sum_c (p_c - t_c) w_c / n, with w = {e, -e}, p = 1/2: -e / n.
  const double e = 0x1p-14;
  w.detach().copy_(tensor({{e}, {-e}}));
  const auto gradient = [&](double scale) {
    return grad(linear_cross_entropy(x, w, zeros({n}, DType::i64)) * scale, {x})[0].at({7, 0});
  };
  EXPECT_EQ(gradient(1), 0);
  EXPECT_NEAR(gradient(0x1p12), -e, 1e-3 * e);
}

TEST(LinearCrossEntropy, TheNumberOfThreadsDoesNotMatter) {
  manual_seed(5);
  const int before = num_threads();
  for (const DType type : {DType::f32, DType::bf16}) {
    const Tensor x = to(randn({300, 70}), type), w = to(randn({500, 70}), type), t = randint(0, 500, {300});
    std::vector<std::vector<double>> first;
    for (const int threads : {1, 2, 3, 3}) {
      set_num_threads(threads);
      std::vector<std::vector<double>> now;
      for (const Tensor& y : results(x, w, t, {}, 128, false, 1)) now.push_back(y.to_vector<double>());
      if (first.empty()) first = now;
      EXPECT_EQ(now, first) << threads << " threads";
    }
  }
  set_num_threads(before);
}

TEST(LinearCrossEntropy, TheTapeMayBeWalkedTwice) {
  manual_seed(6);
  const Tensor x = randn({5, 4}).set_requires_grad(), w = randn({3, 4}).set_requires_grad(),
               t = randint(0, 3, {5});
  const Tensor loss = linear_cross_entropy(x, w, t);
  backward(loss, Retain::yes);
  const auto once = x.grad().to_vector<float>();
  backward(loss);
  const auto twice = x.grad().to_vector<float>();
  for (std::size_t i = 0; i < once.size(); ++i) EXPECT_EQ(twice[i], 2 * once[i]);
}

TEST(LinearCrossEntropy, GradientsForOneOperandAlone) {
  manual_seed(7);
  const Tensor x = randn({6, 4}, DType::f64), w = randn({6, 4}, DType::f64), t = randint(0, 6, {6});
  const auto both = results(x, w, t, {}, 4, false, 1);
  for (const bool of_x : {true, false}) {
    const Tensor leaf = (of_x ? x : w).detach().set_requires_grad();
    const Tensor loss = of_x ? linear_cross_entropy(leaf, w, t, {}, {.rows = 4})
                             : linear_cross_entropy(x, leaf, t, {}, {.rows = 4});
    expect_close({grad(loss, {leaf})[0]}, {both[of_x ? 1 : 2]}, 0);
  }
}

// The gradient of an f32 weight is not rounded to the dtype of the products.
TEST(LinearCrossEntropy, UnderAutocast) {
  manual_seed(8);
  const Tensor x = randn({40, 16}), w = randn({30, 16}), t = randint(0, 30, {40});
  const auto rounded = [](const Tensor& y) { return to(to(y, DType::bf16), DType::f64); };
  const auto want = results(rounded(x), rounded(w), t, {}, 16, true, 1);
  std::vector<Tensor> got, mixed;
  {
    const Autocast scope(DType::bf16);
    got = results(x, w, t, {}, 16, false, 1);
    const Tensor narrow = to(x, DType::bf16).set_requires_grad(), leaf = w.detach().set_requires_grad();
    mixed = grad(linear_cross_entropy(narrow, leaf, t, {}, {.rows = 16}), {narrow, leaf});
  }
  for (const Tensor& y : got) EXPECT_EQ(y.dtype(), DType::f32);
  expect_close(got, want, 1e-6);
  EXPECT_EQ(mixed[0].dtype(), DType::bf16);
  EXPECT_EQ(mixed[1].to_vector<float>(), got[2].to_vector<float>());
  EXPECT_THROW(linear_cross_entropy(to(x, DType::bf16), w, t), DTypeError);
}

TEST(LinearCrossEntropy, RefusesAGradientOfTheClassWeights) {
  const Tensor x = ones({2, 3}), w = ones({4, 3}), t = zeros({2}, DType::i64);
  EXPECT_THROW(linear_cross_entropy(x, w, t, {.weight = ones({4}).set_requires_grad()}), GradError);
}

// The most memory that a training step has at a time, beside its operands.
TEST(LinearCrossEntropy, TakesAQuarterOfTheMemoryOfLogits) {
  constexpr std::int64_t n = 32768, in = 8, classes = 1024;
  const Tensor x = randn({n, in}).set_requires_grad(), w = randn({classes, in}).set_requires_grad(),
               t = randint(0, classes, {n});
  const auto peak = [&](bool composed) {
    const std::int64_t before = allocator().stats().bytes_live;
    allocator().reset_peak();
    grad(composed ? cross_entropy(linear(x, w), t) : linear_cross_entropy(x, w, t), {x, w});
    return allocator().stats().bytes_peak - before;
  };
  EXPECT_GE(peak(true), 2 * n * classes * 4);
  EXPECT_LE(peak(false), n * classes * 4 / 2);
  const std::int64_t before = allocator().stats().bytes_live;
  const Tensor loss = linear_cross_entropy(x, w, t);
  EXPECT_EQ(allocator().stats().bytes_live - before, (n + classes) * in * 4 + 64)
      << "the gradients and the loss";
}

}  // namespace
