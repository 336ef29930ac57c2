// Views: shared storage, reshapes that are views, and the elements of slices, expansions and permutations.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <limits>

using namespace bobbin;

namespace {

bool shares(const Tensor& a, const Tensor& b) { return a.storage() == b.storage(); }
std::vector<double> values(const Tensor& t) { return t.to_vector<double>(); }
using V = std::vector<double>;

TEST(Views, CopyNothing) {
  const Tensor x = reshape(arange(24), {2, 3, 4});
  for (const Tensor& v :
       {reshape(x, {6, 4}), permute(x, {2, 0, 1}), transpose(x), slice(x, 1, 0, 3, 2), select(x, 0, 1),
        narrow(x, 2, 1, 2), unsqueeze(x, 1), expand(unsqueeze(x, 0), {5, 2, 3, 4}), flatten(x, 1)})
    EXPECT_TRUE(shares(x, v)) << v.spec();
}

TEST(Reshape, OfAStridedTensorIsAViewWhereThatCanBe) {
  const Tensor x = reshape(arange(24), {4, 6}), cut = slice(x, 1, 0, 4);
  EXPECT_TRUE(shares(x, reshape(cut, {2, 2, 2, 2})));
  EXPECT_TRUE(shares(x, squeeze(unsqueeze(transpose(x), 1), 1)));
  const Tensor merged = reshape(cut, {16});
  EXPECT_FALSE(shares(x, merged));
  EXPECT_EQ(values(merged), (V{0, 1, 2, 3, 6, 7, 8, 9, 12, 13, 14, 15, 18, 19, 20, 21}));
}

TEST(Slice, FollowsPython) {
  const Tensor x = arange(6);
  EXPECT_EQ(values(slice(x, 0, 1, 5, 2)), (V{1, 3}));
  EXPECT_EQ(values(slice(x, 0, -2, 100)), (V{4, 5}));
  EXPECT_EQ(values(slice(x, 0, 0, -1, 3)), (V{0, 3}));
  EXPECT_EQ(slice(x, 0, 4, 2).numel(), 0);
}

TEST(Expand, RepeatsWithoutMemory) {
  const Tensor x = expand(tensor({{1}, {2}}), {2, 3});
  EXPECT_EQ(x.strides()[1], 0);
  EXPECT_EQ(values(x), (V{1, 1, 1, 2, 2, 2}));
}

TEST(Contiguous, IsItselfWhereItIsSoAlready) {
  const Tensor x = ones({2, 3});
  EXPECT_TRUE(shares(x, contiguous(x)));
  EXPECT_FALSE(shares(x, contiguous(transpose(x))));
  EXPECT_FALSE(shares(x, clone(x)));
}

TEST(Permute, ThenReshapeReadsInTheNewOrder) {
  const Tensor x = reshape(arange(6), {2, 3});
  EXPECT_EQ(values(reshape(transpose(x), {6})), (V{0, 3, 1, 4, 2, 5}));
}

// 2^64 elements, in views that take no memory.
TEST(Shapes, ThatNoIntegerCountsAreErrors) {
  constexpr std::int64_t half = std::int64_t{1} << 32, most = std::numeric_limits<std::int64_t>::max();
  const Tensor one = ones({1, 1}), tall = expand(one, {half, 1}), wide = expand(one, {1, half}),
               longest = expand(ones({1}), {most});
  EXPECT_THROW(expand(one, {half, half}), ShapeError);
  EXPECT_THROW(expand(tall, {half, half}), ShapeError);
  EXPECT_THROW(reshape(one, {half, half}), ShapeError);
  EXPECT_THROW(reshape(one, {half, half, -1}), ShapeError);
  EXPECT_THROW(tall + wide, ShapeError);
  EXPECT_THROW(where(tall > 0, tall, wide), ShapeError);
  EXPECT_THROW(matmul(tall, wide), Error);
  EXPECT_THROW(concat({longest, longest}, 0), ShapeError);
  EXPECT_THROW(stack(std::vector{longest, longest}), ShapeError);
  EXPECT_THROW(pad(tall, {{0, 0}, {half, half}}), ShapeError);
  EXPECT_THROW(pad(longest, {{1, 0}}), ShapeError);
  EXPECT_THROW(flatten(expand(zeros({0, 1, 1}), {0, half, half}), 1), ShapeError);
  EXPECT_THROW(upsample_nearest2d(reshape(one, {1, 1, 1, 1}), {half, half}), Error);
  for (auto make :
       {+[](const Shape& s) { return zeros(s); }, +[](const Shape& s) { return full(s, 1, DType::u8); },
        +[](const Shape& s) { return empty(s); }, +[](const Shape& s) { return rand(s); },
        +[](const Shape& s) { return randint(0, 2, s); }})
    EXPECT_THROW(make({half, half}), ShapeError);
  EXPECT_EQ(expand(zeros({1, 0, 1}), {half, 0, half}).numel(), 0) << "nothing, whatever its other sizes";
}

TEST(Slice, TakesTheLargestNumbers) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max(), least = -most - 1;
  const Tensor x = reshape(arange(6), {3, 2});
  EXPECT_EQ(values(slice(x, 0, 0, most, most)), (V{0, 1}));
  EXPECT_EQ(values(slice(x, 0, least, most, most - 1)), (V{0, 1}));
  EXPECT_EQ(slice(x, 0, least, least).numel(), 0);
  EXPECT_EQ(slice(x, 0, most, least, most).numel(), 0);
  const Tensor longest = expand(ones({1}), {most});
  EXPECT_EQ(slice(longest, 0, 0, most, most / 2).numel(), 3);
  EXPECT_EQ(slice(longest, 0, least, most, most).numel(), 1);
  const Tensor leaf = ones({3, 2}).set_requires_grad();
  EXPECT_EQ(values(grad(sum(slice(leaf, 0, 1, most, most)), {leaf})[0]), (V{0, 0, 1, 1, 0, 0}));
  EXPECT_THROW(narrow(x, 0, 1, most), IndexError);
  EXPECT_THROW(narrow(x, 0, least, 1), IndexError);
  EXPECT_THROW(select(x, 0, least), IndexError);
}

}  // namespace
