// Sizes and options at the limits of 64 bits: typed errors in place of overflow.
#include <bobbin/ops.h>
#include <gtest/gtest.h>

#include <limits>

#include "core/ceil_div.h"
#include "tests/ops/expect_values.h"

using namespace bobbin;

namespace {

constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max(),
                       least = std::numeric_limits<std::int64_t>::min();

TEST(Limits, CeilDivDoesNotOverflow) {
  static_assert(ceil_div(most, 1) == most && ceil_div(most, 2) == most / 2 + 1 && ceil_div(most, most) == 1);
  static_assert(ceil_div(1, most) == 1 && ceil_div(0, most) == 0 && ceil_div(most - 1, most) == 1);
  static_assert(ceil_div(-7, 2) == -3 && ceil_div(-8, 2) == -4 && ceil_div(least, most) == -1);
}

TEST(Limits, ConvolutionsRefuseOptionsThatOverflow) {
  const Tensor x = zeros({1, 2, 5, 5}), w = zeros({2, 2, 3, 3}), narrow = zeros({2, 1, 3, 3});
  for (const std::int64_t n : {least, std::int64_t{-1}, most / 2, most - 1, most}) {
    EXPECT_THROW(conv2d(x, w, {}, {.stride = n}), ValueError) << n;
    EXPECT_THROW(conv2d(x, w, {}, {.padding = n}), ValueError) << n;
    EXPECT_THROW(conv2d(x, w, {}, {.dilation = n}), ValueError) << n;
    EXPECT_THROW(conv2d(x, narrow, {}, {.groups = n}), ShapeError) << n;
    EXPECT_THROW(conv_transpose2d(x, w, {}, {.stride = n}), Error) << n;
    EXPECT_THROW(conv_transpose2d(x, w, {}, {.padding = n}), Error) << n;
    EXPECT_THROW(conv_transpose2d(x, w, {}, {.dilation = n}), Error) << n;
    EXPECT_THROW(conv_transpose2d(x, narrow, {}, {.groups = n}), Error) << n;
    EXPECT_THROW(conv_transpose2d(x, w, {}, {}, n), Error) << n;
  }
  EXPECT_THROW(conv2d(x, w, {}, {.stride = 0}), ValueError);
  EXPECT_THROW(conv2d(x, w, {}, {.dilation = 0}), ValueError);
  EXPECT_THROW(conv2d(x, w, {}, {.dilation = std::int64_t{1} << 31}), ValueError);
  EXPECT_THROW(conv2d(x, w, {}, {.dilation = (std::int64_t{1} << 31) - 1}), ShapeError);
  EXPECT_EQ(conv2d(x, w, {}, {.stride = (std::int64_t{1} << 31) - 1}).shape(), Shape({1, 2, 1, 1}));
  EXPECT_THROW(conv2d(zeros({0, 2, most, 5}), w), ShapeError);
  EXPECT_THROW(conv2d(zeros({0, 2, 5, 5}), zeros({0, 2, most, 3})), ShapeError);
}

TEST(Limits, PoolingsRefuseOptionsThatOverflow) {
  const Tensor x = zeros({1, 1, 6, 6});
  for (const std::int64_t n : {least, std::int64_t{-1}, std::int64_t{0}, most / 2 + 1, most}) {
    EXPECT_THROW(max_pool2d(x, n), ValueError) << n;
    EXPECT_THROW(avg_pool2d(x, n), ValueError) << n;
    EXPECT_THROW(avg_pool2d(x, 2, {.stride = n}), ValueError) << n;
    EXPECT_THROW(max_pool2d(x, 2, {.padding = n == 0 ? 2 : n}), ValueError) << n;
    EXPECT_THROW(adaptive_avg_pool2d(x, n), ValueError) << n;
    EXPECT_THROW(upsample_nearest2d(x, n), Error) << n;
  }
  EXPECT_THROW(max_pool2d(zeros({0, 1, most, most}), 2), ShapeError);
  EXPECT_THROW(upsample_nearest2d(zeros({0, 1, most, most}), 2), ShapeError);
  // 2^40 positions of a window, of which one is no padding.
  expect_values(avg_pool2d(full({1, 1, 1, 1}, 0x1p40), 1 << 20, {.padding = 1 << 19}), {1});
}

TEST(Limits, IndexingOfNothingTakesNoMemory) {
  const std::int64_t many = std::int64_t{1} << 40;
  const Tensor index = zeros({0}, DType::i64), none = zeros({many, 0, many}),
               pick = zeros({many, 0, many}, DType::i64);
  EXPECT_EQ(index_select(none, 1, index).shape(), none.shape());
  EXPECT_EQ(index_add(none, 1, index, none).shape(), none.shape());
  EXPECT_EQ(gather(none, 1, pick).shape(), none.shape());
  EXPECT_EQ(scatter_add(none, 1, pick, none).shape(), none.shape());
  EXPECT_EQ(cumsum(none, 1).shape(), none.shape());
  EXPECT_THROW(sum(none, {0, 2}), ShapeError);
}

TEST(Limits, SumsOfIntegersWrap) {
  const Tensor x = from_range(std::vector<std::int64_t>{most, 1, 5}),
               twice = from_range(std::vector<std::int64_t>{0, 0, 0});
  expect_values(index_add(zeros({1}, DType::i64), 0, twice, x), {static_cast<double>(least + 5)});
  expect_values(scatter_add(zeros({1}, DType::i64), 0, twice, x), {static_cast<double>(least + 5)});
  EXPECT_EQ(cumsum(x, 0).to_vector<std::int64_t>(), (std::vector<std::int64_t>{most, least, least + 5}));
  EXPECT_EQ(cumsum(x, 0, true).to_vector<std::int64_t>(), (std::vector<std::int64_t>{least + 5, 6, 5}));
}

}  // namespace
