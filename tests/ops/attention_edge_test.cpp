// Attention at the edges: queries that may look at nothing, logits beyond the range of 16-bit types, options
// out of range.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/ops/expect_relative.h"

using namespace bobbin;

namespace {

constexpr DType floating[] = {DType::f64, DType::f32, DType::f16, DType::bf16};
constexpr double inf = std::numeric_limits<double>::infinity(),
                 nan = std::numeric_limits<double>::quiet_NaN();

bool is_zero(const Tensor& t) {
  for (const double v : t.to_vector<double>())
    if (v != 0) return false;
  return true;
}

// The same mask as bools and as numbers that are added; the second query sees nothing.
TEST(Attention, AQueryThatSeesNothingIsZeroInBothOrders) {
  manual_seed(6);
  for (const DType t : floating) {
    const Tensor bools = tensor({{1, 0, 1}, {0, 0, 0}, {0, 1, 1}}, DType::boolean);
    const Tensor numbers = where(bools, zeros({}, t), full({}, -inf, t));
    for (const Tensor& mask : {bools, numbers})
      for (const bool causal : {false, true}) {
        const Tensor q = randn({2, 3, 4}, t).set_requires_grad(), k = randn({2, 3, 4}, t).set_requires_grad(),
                     v = randn({2, 3, 2}, t).set_requires_grad();
        const AttentionOptions options{.mask = mask, .causal = causal};
        const Tensor y = scaled_dot_product_attention(q, k, v, options);
        EXPECT_TRUE(is_zero(select(y, 1, 1))) << name(t);
        const auto first = grad(sum(square(y)), {q, k, v}, {}, CreateGraph::yes);
        EXPECT_TRUE(is_zero(select(first[0], 1, 1))) << name(t);
        for (const Tensor& g : first)
          for (const double d : g.to_vector<double>()) EXPECT_TRUE(std::isfinite(d)) << name(t);
        const auto second = grad(sum(square(first[0])) + sum(square(first[1])), {q, k, v});
        EXPECT_TRUE(is_zero(select(second[0], 1, 1))) << name(t);
        for (const Tensor& g : second)
          for (const double d : g.to_vector<double>()) EXPECT_TRUE(std::isfinite(d)) << name(t);
        // The other queries are as without it.
        const Tensor rows = from_range(std::vector<std::int64_t>{0, 2});
        if (!causal) {
          const Tensor alone = scaled_dot_product_attention(index_select(q, 1, rows), k, v,
                                                            {.mask = index_select(mask, 0, rows)});
          EXPECT_EQ(index_select(y, 1, rows).to_vector<double>(), alone.to_vector<double>()) << name(t);
        }
      }
  }
}

TEST(Attention, NaNIsNotHiddenByTheRuleForEmptyRows) {
  const Tensor q = tensor({{nan, 0}}, DType::f64), k = ones({2, 2}, DType::f64), v = ones({2, 1}, DType::f64);
  EXPECT_TRUE(std::isnan(scaled_dot_product_attention(q, k, v, {.mask = zeros({1, 2}, DType::f64)}).item()));
  // A masked NaN is not looked at.
  EXPECT_EQ(scaled_dot_product_attention(q, k, v, {.mask = zeros({1, 2}, DType::boolean)}).item(), 0);
}

TEST(Attention, NoKeysGiveZeros) {
  for (const DType t : floating) {
    const Tensor y = scaled_dot_product_attention(ones({3, 2}, t), ones({0, 2}, t), ones({0, 4}, t));
    EXPECT_EQ(y.shape(), (Shape{3, 4}));
    EXPECT_TRUE(is_zero(y));
  }
}

// The public masked_softmax of such a row is NaN, as PyTorch's softmax of a row of -inf.
TEST(MaskedSoftmax, ARowThatIsMaskedWhollyIsNaN) {
  for (const DType t : floating)
    for (const std::int64_t n : {2, 300}) {
      const Tensor y = masked_softmax(zeros({1, n}, t), zeros({1, n}, DType::boolean));
      for (const double v : y.to_vector<double>()) EXPECT_TRUE(std::isnan(v));
    }
}

// f16 and bf16 queries and keys of 300: logits of 90000 and 45000, whose softmax is [1, 0].
TEST(Attention, LogitsOf16BitTypesAreF32) {
  for (const DType t : {DType::f16, DType::bf16})
    for (const std::int64_t d : {1, 2, 3, 64}) {
      const Tensor q = full({1, d}, 300, t), v = tensor({{1}, {2}}, t);
      const Tensor k = concat({full({1, d}, 300, t), full({1, d}, 150, t)}, 0);
      for (const bool causal : {false, true})
        EXPECT_EQ(scaled_dot_product_attention(q, k, v, {.causal = causal}).item(), 1) << name(t) << d;
      EXPECT_EQ(scaled_dot_product_attention(q, k, v, {.mask = zeros({1, 2}, t)}).item(), 1) << name(t) << d;
    }
}

// Logits near 300 that differ by less than a 16-bit type resolves there: weights follow the exact difference.
TEST(Attention, SmallDifferencesOfLargeLogitsCount) {
  for (const DType t : {DType::f16, DType::bf16}) {
    const Tensor q = tensor({{16, .0625}}, t), k = tensor({{20, 1}, {20, 2}}, t), v = tensor({{0}, {1}}, t);
    const double difference = .0625 / std::sqrt(2.0);
    EXPECT_NEAR(scaled_dot_product_attention(q, k, v).item(), 1 / (1 + std::exp(-difference)),
                unit_roundoff(t));
  }
}

TEST(Attention, OptionsOutOfRangeThrow) {
  const Tensor x = ones({2, 2});
  for (const double p : {-.1, 1.5, nan, inf})
    EXPECT_THROW(scaled_dot_product_attention(x, x, x, {.dropout = p}), ValueError) << p;
  EXPECT_THROW(scaled_dot_product_attention(x, to(x, DType::f64), x), DTypeError);
  EXPECT_THROW(scaled_dot_product_attention(x, x, to(x, DType::f16)), DTypeError);
  EXPECT_TRUE(is_zero(scaled_dot_product_attention(x, x, x, {.dropout = 1})));
}

}  // namespace
