// The collectives of a group, for any number of ranks. The right values are computed here from all ranks'
// inputs, which are functions of the rank.
#include "tests/distributed/group.h"

#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

using namespace bobbin;
using testing::HasSubstr;
using tests::group;
using tests::message;

namespace {

// Numbers of a rank that a sum rounds.
Tensor numbers(int rank, const Shape& shape, DType dtype) {
  const GeneratorScope draws({7, static_cast<std::uint64_t>(rank) << 20});
  return is_floating(dtype) ? to(randn(shape, DType::f64) * 3, dtype) : to(randint(0, 100, shape), dtype);
}

// Neighbours in pairs, then pairs of pairs, as the header says; in f32 for 16-bit types.
template<class T>
T tree_sum(const std::vector<T>& x) {
  if (x.size() == 1) return x[0];
  const auto half = static_cast<std::ptrdiff_t>(std::bit_floor(x.size() - 1));
  return tree_sum(std::vector<T>(x.begin(), x.begin() + half)) +
         tree_sum(std::vector<T>(x.begin() + half, x.end()));
}

template<class T, class Wide>
void expect_sum(const Shape& shape) {
  SCOPED_TRACE(name(dtype_of<T>()));
  const Tensor sum = group().all_reduce(numbers(group().rank(), shape, dtype_of<T>()), "a sum");
  ASSERT_EQ(sum.spec(), (TensorSpec{shape, dtype_of<T>(), {}}));
  std::vector<std::vector<T>> all;
  for (int r = 0; r < group().size(); ++r)
    all.push_back(numbers(r, shape, dtype_of<T>()).template to_vector<T>());
  const auto got = sum.template to_vector<T>();
  for (std::size_t i = 0; i < got.size(); ++i) {
    std::vector<Wide> terms;
    for (const auto& rank : all) terms.push_back(static_cast<Wide>(rank[i]));
    const T right = static_cast<T>(tree_sum(terms));
    ASSERT_EQ(std::memcmp(&right, &got[i], sizeof right), 0) << i;
  }
}

// 8 KB or less goes another way than more does.
TEST(Group, AllReduceAddsInTheTreeOfRanksForEveryDtype) {
  for (const Shape& shape : {Shape{}, Shape{3, 5}, Shape{1023}, Shape{5, 1000, 3}, Shape{0}}) {
    expect_sum<float, float>(shape);
    expect_sum<double, double>(shape);
    expect_sum<BFloat16, float>(shape);
    expect_sum<Half, float>(shape);
    expect_sum<std::int64_t, std::int64_t>(shape);
    expect_sum<std::int32_t, std::int32_t>(shape);
    expect_sum<std::uint8_t, std::uint8_t>(shape);
  }
}

TEST(Group, BoolIsOr) {
  Tensor x = zeros({4}, DType::boolean);
  if (group().rank() == group().size() - 1) x.mutable_data<bool>()[2] = true;
  EXPECT_EQ(group().all_reduce(x).to_vector<bool>(), (std::vector<bool>{false, false, true, false}));
}

TEST(Group, AllReduceTakesStridedTensorsAndLeavesThem) {
  const Tensor x = numbers(group().rank(), {40, 70}, DType::f32);
  const auto before = x.to_vector<float>();
  const Tensor sum = group().all_reduce(permute(x, {1, 0}));
  EXPECT_EQ(contiguous(permute(sum, {1, 0})).to_vector<float>(), group().all_reduce(x).to_vector<float>());
  EXPECT_EQ(x.to_vector<float>(), before);
  EXPECT_FALSE(group().all_reduce(numbers(0, {2}, DType::f32).set_requires_grad()).requires_grad());
}

TEST(Group, BroadcastFromEachRank) {
  for (int root = 0; root < group().size(); ++root)
    for (const DType dtype : {DType::f32, DType::bf16, DType::boolean, DType::i64})
      for (const Shape& shape : {Shape{}, Shape{0, 3}, Shape{300, 200}})
        EXPECT_EQ(group().broadcast(numbers(group().rank(), shape, dtype), root).to_vector<double>(),
                  numbers(root, shape, dtype).to_vector<double>());
  EXPECT_THROW(group().broadcast(ones({2}), group().size()), ValueError);
  EXPECT_THROW(group().broadcast(ones({2}), -1), ValueError);
}

TEST(Group, AllGatherIsInTheOrderOfRanks) {
  for (const DType dtype : {DType::f32, DType::f16, DType::u8}) {
    std::vector<Tensor> right;
    for (int r = 0; r < group().size(); ++r) right.push_back(numbers(r, {3, 7}, dtype));
    EXPECT_EQ(group().all_gather(numbers(group().rank(), {3, 7}, dtype)).to_vector<double>(),
              concat(right, 0).to_vector<double>());
  }
  EXPECT_EQ(group().all_gather(zeros({0, 4})).numel(), 0);
  EXPECT_THROW(group().all_gather(tensor(1)), ShapeError);
}

TEST(Group, ReduceScatterIsAPartOfAllReduce) {
  const std::int64_t n = 5;
  const Tensor x = numbers(group().rank(), {n * group().size(), 11}, DType::f32);
  EXPECT_EQ(group().reduce_scatter(x).to_vector<float>(),
            slice(group().all_reduce(x), 0, n * group().rank(), n * (group().rank() + 1)).to_vector<float>());
  if (group().size() > 1) {
    EXPECT_THROW(group().reduce_scatter(ones({n * group().size() + 1})), ShapeError);
  }
}

TEST(Group, AMismatchNamesBothSidesOnEveryRank) {
  if (group().size() == 1) GTEST_SKIP() << "one rank";
  const int last = group().size() - 1, rank = group().rank();
  const std::string other = "rank " + std::to_string(last);
  const auto differ = [&](const auto& most, const auto& at_last) {
    return message<ValueError>([&] { rank == last ? at_last() : most(); });
  };
  std::string m = differ(
      [] {
        group().all_reduce(ones({4, 2}), "bucket 3");
      },
      [] {
        group().all_reduce(ones({4, 3}));
      });
  for (const std::string& part : {std::string("rank 0"), other, std::string("f32[4,2]"),
                                  std::string("f32[4,3]"), std::string("bucket 3")})
    EXPECT_THAT(m, HasSubstr(part));
  m = differ([] { group().all_reduce(ones({2})); }, [] { group().all_reduce(ones({2}, DType::f64)); });
  EXPECT_THAT(m, HasSubstr("f64[2]"));
  m = differ([] { group().all_reduce(ones({2})); }, [] { group().barrier("the end"); });
  EXPECT_THAT(m, HasSubstr("barrier"));
  EXPECT_THAT(m, HasSubstr("the end"));
  m = differ([] { group().broadcast(ones({2}), 0); }, [] { group().broadcast(ones({2}), 1); });
  EXPECT_THAT(m, HasSubstr("from rank 1"));
  // The group is as good as before.
  EXPECT_EQ(group().all_reduce(ones({1})).item(), group().size());
}

TEST(Group, OnRootRunsOnceAndItsErrorIsEverybodys) {
  int runs = 0;
  group().on_root([&] { ++runs; });
  EXPECT_EQ(runs, group().rank() == 0 ? 1 : 0);
  const std::string m =
      message<Error>([] { group().on_root([] { throw IoError("save: the disk is full"); }); });
  EXPECT_THAT(m, HasSubstr("save: the disk is full"));
  EXPECT_EQ(group().all_reduce(ones({1})).item(), group().size());
}

TEST(Group, OfOneProcessDoesNothing) {
  const dist::Group alone;
  const Tensor x = numbers(0, {3, 2}, DType::f32);
  EXPECT_EQ(alone.size(), 1);
  EXPECT_EQ(alone.rank(), 0);
  for (const Tensor& y :
       {alone.all_reduce(x), alone.broadcast(x), alone.all_gather(x), alone.reduce_scatter(x)})
    EXPECT_EQ(y.raw(), x.raw());
  alone.barrier();
}

}  // namespace
