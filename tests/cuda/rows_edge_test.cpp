// Tests the softmax family and cross-entropy on a GPU in the tails, attention of queries that see nothing,
// and sums that leave 16-bit types: against closed forms in long double, for every algorithm of the row
// engine.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "tests/cuda/cuda_fixture.h"
#include "tests/ops/expect_relative.h"

using namespace bobbin;

namespace {

using CudaRowsEdge = SeededCuda<17>;

constexpr DType floating[] = {DType::f64, DType::f32, DType::f16, DType::bf16};
constexpr double inf = std::numeric_limits<double>::infinity();

// A row of n logits near -gap with 0 in the middle, and what follows from it: 1 / sum(exp(x)), and the sum of
// the probabilities of the others, and of those times f.
struct Tail {
  std::int64_t n, m;
  Tensor x, g;
  long double rest = 0, product = 0, size = 0;  // sums of p, of p (g[m] - g), of p |g[m] - g|
  Tail(DType t, std::int64_t n, double gap) : n(n), m(n / 2) {
    x = to(uniform({n}, -gap - 1, -gap, DType::f64), t);
    g = to(randn({n}, DType::f64), t);
    narrow(x, 0, m, 1).fill_(0);
    const auto xs = x.to_vector<double>(), gs = g.to_vector<double>();
    const auto at = static_cast<std::size_t>(m);
    long double total = 0;
    for (const double v : xs) total += std::exp(static_cast<long double>(v));
    for (std::size_t j = 0; j < xs.size(); ++j) {
      if (j == at) continue;
      const long double p = std::exp(static_cast<long double>(xs[j])) / total;
      rest += p;
      product += p * (gs[at] - gs[j]);
      size += p * std::abs(gs[at] - gs[j]);
    }
    product *= 1 - rest;
  }
};

TEST_F(CudaRowsEdge, TailsOfRowsOfEveryLength) {
  for (const DType t : floating)
    for (const std::int64_t n : {2, 3, 17, 33, 64, 100, 300, 1000, 2048, 5000, 40000, 270000})
      for (const double gap : {18.0, 40.0}) {
        const Tail row(t, n, gap);
        const std::string what =
            std::string(name(t)) + " " + std::to_string(n) + " at " + std::to_string(gap);
        const double lost = static_cast<double>(n + 1) * 8 * smallest(t);
        const auto near = [&](const Tensor& got, long double want, long double size, const char* op) {
          EXPECT_NEAR(got.item(), static_cast<double>(want),
                      static_cast<double>(32 * unit_roundoff(t) * size) + lost)
              << op << what;
        };
        for (const bool along : {true, false}) {
          if (!along && n > 5000) continue;
          const auto layout = [&](const Tensor& v) {
            const Tensor rows = to(contiguous(expand(v, {40, n})), gpu);
            return along ? rows : contiguous(transpose(rows));
          };
          const auto pick = [&](const Tensor& v) {
            return along ? select(select(v, 0, 7), 0, row.m) : select(select(v, 1, 7), 0, row.m);
          };
          const int axis = along ? 1 : 0;
          const Tensor x = layout(row.x), g = layout(row.g),
                       one = to(eq(layout(row.x), zeros({}, t, gpu)), t);
          near(pick(softmax_backward(softmax(x, axis), g, axis)), row.product, row.size, "softmax_backward ");
          near(pick(log_softmax_backward(log_softmax(x, axis), one, axis)), row.rest, row.rest,
               "log_softmax_backward ");
        }
        if (n > 40000) continue;
        const Tensor logits = to(contiguous(expand(row.x, {40, n})), gpu).set_requires_grad();
        const Tensor label = full({40}, static_cast<double>(row.m), DType::i64, gpu);
        const auto slope = [&](const Tensor& loss, double by) {
          return select(select(grad(loss * by, {logits})[0], 0, 7), 0, row.m);
        };
        const auto sum = Reduction::sum;
        for (const double by : {1.0, 2.0}) {  // from the forward pass, and by the backward operation
          near(slope(cross_entropy(logits, label, {.reduction = sum}), by), -by * row.rest, by * row.rest,
               "index ");
          for (const double s : {.1, 1e-6}) {
            const long double others = s * static_cast<long double>(n - 1) / static_cast<long double>(n);
            const long double size = by * (others + row.rest);
            near(slope(cross_entropy(logits, label, {.label_smoothing = s, .reduction = sum}), by),
                 by * (others - row.rest), 4 * size, "smoothed ");
            near(slope(cross_entropy(logits, label,
                                     {.weight = ones({n}, t, gpu), .label_smoothing = s, .reduction = sum}),
                       by),
                 by * (others - row.rest), 4 * size, "weighted and smoothed ");
          }
          near(slope(cross_entropy(logits, one_hot(label, n, t), {.reduction = sum}), by), -by * row.rest,
               by * row.rest, "dense ");
        }
      }
}

TEST_F(CudaRowsEdge, SecondOrdersOfTwoClasses) {
  for (const double a : {10.0, 37.5, 300.0}) {
    const long double e = std::exp(-static_cast<long double>(a)), q = e / (1 + e), s = q * (1 - q);
    const Tensor x = to(tensor({a, 0}, DType::f64), gpu).set_requires_grad(),
                 g = to(tensor({1, 0}, DType::f64), gpu);
    const auto second = [&](const Tensor& y, const Tensor& cotangent) {
      return grad(select(grad(y, {x}, cotangent, CreateGraph::yes)[0], 0, 0), {x})[0];
    };
    expect_relative(second(softmax(x), g), {-s * (1 - 2 * q), s * (1 - 2 * q)}, 256, "softmax''");
    expect_relative(second(log_softmax(x), g), {-s, s}, 256, "log_softmax''");
    const Tensor label = to(tensor({0}, DType::i64), gpu);
    expect_relative(second(cross_entropy(reshape(x, {1, 2}), label), {}), {s, -s}, 256, "cross_entropy''");
  }
}

TEST_F(CudaRowsEdge, AQueryThatSeesNothingIsZero) {
  for (const DType t : floating)
    for (const std::int64_t n : {3, 40, 300, 5000}) {
      Tensor bools = ones({3, n}, DType::boolean);
      narrow(bools, 0, 1, 1).fill_(0);
      const Tensor numbers = where(bools, zeros({}, t), full({}, -inf, t));
      for (const Tensor& mask : {bools, numbers}) {
        std::vector<Tensor> in;
        for (const Shape& shape : {Shape{3, 4}, Shape{n, 4}, Shape{n, 2}})
          in.push_back(randn(shape, t, gpu).set_requires_grad());
        const Tensor y = scaled_dot_product_attention(in[0], in[1], in[2], {.mask = to(mask, gpu)});
        EXPECT_EQ(max(abs(select(y, 0, 1))).item(), 0);
        const auto first = grad(sum(square(y)), in, {}, CreateGraph::yes);
        EXPECT_EQ(max(abs(select(first[0], 0, 1))).item(), 0);
        for (const Tensor& d : grad(sum(square(first[0])) + sum(square(first[1])), in))
          EXPECT_TRUE(std::isfinite(sum(to(d, DType::f32)).item()));
      }
    }
}

TEST_F(CudaRowsEdge, LogitsAndSumsOf16BitTypesAreF32) {
  for (const DType t : {DType::f16, DType::bf16}) {
    for (const std::int64_t d : {1, 3, 64}) {
      const Tensor q = full({1, d}, 300, t, gpu), k = concat({q, q * .5}, 0),
                   v = to(tensor({{1}, {2}}, t), gpu);
      EXPECT_EQ(scaled_dot_product_attention(q, k, v).item(), 1);
    }
    const auto ofs = [](const Shape& shape, double v) {
      return full(shape, v, DType::f32, gpu).set_requires_grad();
    };
    const Tensor bias = ofs({2}, 1e5 + 1);
    const auto check = [&](const auto& f, double want) {
      Tensor y;
      {
        const Autocast scope(t);
        y = f();
      }
      EXPECT_EQ(y.dtype(), DType::f32);
      for (const float v : y.template to_vector<float>()) EXPECT_EQ(v, want);
      const Tensor d = grad(sum(y), {bias})[0];
      EXPECT_EQ(d.at({0}), static_cast<double>(y.numel() / 2));
    };
    check([&] { return matmul(ofs({3, 64}, 40), ofs({64, 2}, 40)) + bias; }, 102400 + 1e5 + 1);
    for (const Activation a : {Activation::none, Activation::relu})
      check([&] { return linear(ofs({5, 64}, 40), ofs({2, 64}, 40), bias, a); }, 102400 + 1e5 + 1);
    check([&] { return conv2d(ofs({1, 64, 3, 3}, 40), ofs({2, 64, 3, 3}, 40), bias); }, 9 * 102400 + 1e5 + 1);
    check([&] { return conv2d(ofs({1, 64, 3, 3}, 40), ofs({2, 64, 1, 1}, 40), bias); }, 102400 + 1e5 + 1);
    check(
        [&] {
          return conv_transpose2d(ofs({1, 64, 1, 1}, 40), ofs({64, 2, 3, 3}, 40), bias);
        },
        102400 + 1e5 + 1);
    check(
        [&] {
          return conv_transpose2d(ofs({1, 64, 1, 1}, 40), ofs({64, 2, 1, 1}, 40), bias);
        },
        102400 + 1e5 + 1);
  }
}

TEST_F(CudaRowsEdge, ReducedLossesOf16BitTypes) {
  constexpr std::int64_t n = 70000;
  for (const DType t : {DType::f16, DType::bf16}) {
    const Tensor x = full({n}, 100, t, gpu).set_requires_grad(), zero = zeros({n}, t, gpu);
    EXPECT_NEAR(mse_loss(x, zero).item(), 1e4, 1e4 * 4 * unit_roundoff(t));
    EXPECT_NEAR(grad(mse_loss(x, zero), {x})[0].at({0}), 200.0 / n, 200.0 / n * 4 * unit_roundoff(t));
    const Tensor log_p = full({n, 2}, -2, t, gpu).set_requires_grad(), label = zeros({n}, DType::i64, gpu);
    EXPECT_NEAR(nll_loss(log_p, label).item(), 2, 8 * unit_roundoff(t));
    EXPECT_NEAR(grad(nll_loss(log_p, label), {log_p})[0].at({0, 0}), -1.0 / n,
                4 * unit_roundoff(t) / n + smallest(t));
    EXPECT_NEAR(cross_entropy(log_p, label).item(), std::log(2), 4 * unit_roundoff(t));
    EXPECT_EQ(kl_div(full({1}, -inf, t, gpu), zeros({1}, t, gpu)).item(), 0);
    EXPECT_EQ(binary_cross_entropy_with_logits(full({1}, inf, t, gpu), ones({1}, t, gpu)).item(), 0);
  }
}

}  // namespace
