// Views: shared storage, reshapes that are views, and the elements of slices, expansions and permutations.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

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

}  // namespace
