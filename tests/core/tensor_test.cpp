// Tensors: making, reading, editing and viewing them, and what their functions throw.
#include <bobbin/parallel.h>
#include <bobbin/tape.h>
#include <bobbin/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <list>
#include <ranges>
#include <vector>

using namespace bobbin;
using testing::Each;
using testing::ElementsAre;
using testing::StrEq;
using testing::ThrowsMessage;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity(),
                 nan = std::numeric_limits<double>::quiet_NaN();
constexpr DType all_dtypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16,
                                DType::i64, DType::i32, DType::u8,   DType::boolean};

TensorSpec spec(Shape shape, DType dtype = DType::f32) { return {shape, dtype, {}}; }
std::vector<double> values(const Tensor& t) { return t.to_vector<double>(); }
std::vector<std::int64_t> ints(const Tensor& t) { return t.to_vector<std::int64_t>(); }
// A message and its type, to the letter.
template<class E>
auto Throws(const std::string& message) {
  return ThrowsMessage<E>(StrEq(message));
}

TEST(Construction, NestedListsGiveTheirShape) {
  EXPECT_EQ(tensor(4).spec(), spec({}));
  EXPECT_EQ(tensor({4}).spec(), spec({1}));
  EXPECT_EQ(tensor({{4}}).spec(), spec({1, 1}));
  EXPECT_EQ(tensor({{1, 2, 3}, {4, 5, 6}}).spec(), spec({2, 3}));
  EXPECT_THAT(values(tensor({{{1, 2}}, {{3, 4}}, {{5, 6}}})), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_EQ(tensor({{{1, 2}}, {{3, 4}}, {{5, 6}}}).shape(), (Shape{3, 1, 2}));
  EXPECT_EQ(tensor({}).shape(), Shape{0});
  EXPECT_EQ(tensor({{}, {}}).shape(), (Shape{2, 0}));
  EXPECT_EQ(tensor({1, -2}, DType::i32).spec(), spec({2}, DType::i32));
  EXPECT_EQ(tensor({{{{{{{{1}}}}}}}}).rank(), 8);
}

TEST(Construction, RaggedListsThrow) {
  EXPECT_THAT(
      [] {
        tensor({{1, 2}, {3}});
      },
      Throws<ShapeError>("tensor: lists of one level must have equal lengths; got [2] and [1]"));
  EXPECT_THROW(tensor({{1, 2}, 3}), ShapeError);
  EXPECT_THROW(tensor({{{{{{{{{1}}}}}}}}}), ShapeError) << "nine dimensions";
}

TEST(Construction, RangesGiveTheirElementType) {
  EXPECT_EQ(from_range(std::vector<float>{1, 2}).spec(), spec({2}));
  EXPECT_EQ(from_range(std::array<double, 3>{1, 2, 3}).spec(), spec({3}, DType::f64));
  EXPECT_EQ(from_range(std::list<std::int32_t>{1}).spec(), spec({1}, DType::i32));
  EXPECT_THAT(ints(from_range(std::views::iota(3, 6))), ElementsAre(3, 4, 5));
  EXPECT_THAT(
      values(from_range(std::views::iota(0, 4) | std::views::transform([](int i) { return i / 2.0; }))),
      ElementsAre(0, .5, 1, 1.5));
  const std::uint8_t bytes[] = {7, 255};
  EXPECT_EQ(from_range(std::span(bytes)).spec(), spec({2}, DType::u8));
  EXPECT_EQ(from_range(std::vector{Half(2.0f), Half(3.0f)}).spec(), spec({2}, DType::f16));
  EXPECT_EQ(from_range(std::vector<double>{}).spec(), spec({0}, DType::f64));
  EXPECT_EQ(from_range(std::vector<int>(6), Shape{2, 3}).shape(), (Shape{2, 3}));
  EXPECT_EQ(from_range(std::vector<int>{9}, Shape{}).item(), 9);
  EXPECT_EQ(from_range(std::vector<int>{}, Shape{0, 5}).shape(), (Shape{0, 5}));
  const std::vector<bool> bits{true, false, true};
  EXPECT_EQ(from_range(bits).spec(), spec({3}, DType::boolean));
  EXPECT_EQ(from_range(bits).to_vector<bool>(), bits);
}

template<class R>
concept MakesATensor = requires(R range) {
  from_range(range);
};

TEST(Construction, AVectorOfBoolNeedNotBeConst) {
  EXPECT_TRUE(MakesATensor<const std::vector<bool>&>);
  EXPECT_TRUE(MakesATensor<std::vector<bool>&>);
  EXPECT_FALSE(MakesATensor<std::vector<std::string>&>);
}

TEST(Construction, AShapeThatHoldsAnotherCountThrows) {
  EXPECT_THAT(
      [] {
        from_range(std::vector<int>(5), Shape{2, 3});
      },
      Throws<ShapeError>("from_range: shape [2,3] does not hold 5 elements"));
  EXPECT_THROW(from_range(std::vector<int>(1), Shape{-1, -1}), ShapeError);
}

TEST(Construction, FillsEveryDtype) {
  for (const auto dtype : all_dtypes) {
    SCOPED_TRACE(name(dtype));
    EXPECT_EQ(zeros({3, 4}, dtype).spec(), spec({3, 4}, dtype));
    EXPECT_THAT(values(zeros({3000}, dtype)), Each(0));
    EXPECT_THAT(values(ones({3000}, dtype)), Each(1));
    const double value = dtype == DType::boolean ? 1 : 100;
    EXPECT_THAT(values(full({5}, value, dtype)), Each(value));
    EXPECT_EQ(zeros_like(ones({2}, dtype)).spec(), spec({2}, dtype));
    EXPECT_EQ(empty({0, 4}, dtype).numel(), 0);
  }
  EXPECT_EQ(full({}, .1).item<float>(), .1f);
  EXPECT_THAT(values(eye(3, DType::i64)), ElementsAre(1, 0, 0, 0, 1, 0, 0, 0, 1));
  EXPECT_EQ(eye(0).shape(), (Shape{0, 0}));
  EXPECT_THROW(eye(-1), ShapeError);
}

TEST(Construction, RangesOfNumbersIncludeWhatTheySay) {
  EXPECT_THAT(ints(arange(4)), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(ints(arange(5, -1, -2)), ElementsAre(5, 3, 1));
  EXPECT_THAT(values(arange(0, 1, .25, DType::f32)), ElementsAre(0, .25, .5, .75));
  EXPECT_EQ(arange(0, 1, .1, DType::f64).numel(), 10);
  EXPECT_EQ(arange(3, 3).numel() + arange(3, 0).numel() + arange(0, 5, -1).numel(), 0);
  for (const double stop : {1.3, 1.6, 2.0}) EXPECT_LT(values(arange(1, stop, .1, DType::f64)).back(), stop);
  EXPECT_THAT([] { arange(0, 1, 0); }, Throws<ValueError>("arange: no finite range from 0 to 1 by 0"));
  for (const double bad : {nan, inf}) EXPECT_THROW(arange(0, bad), ValueError);
  EXPECT_THAT(values(linspace(0, 1, 5)), ElementsAre(0, .25, .5, .75, 1));
  EXPECT_THAT(values(linspace(3, 9, 1)), ElementsAre(3));
  EXPECT_EQ(values(linspace(0, .3, 7, DType::f64)).back(), .3) << "the last is met exactly";
  EXPECT_EQ(linspace(0, 1, 0).numel(), 0);
  EXPECT_THAT([] { linspace(0, 1, -1); },
              Throws<ValueError>("linspace: expected a count of at least 0; got -1"));
}

TEST(Elements, AreReadOneByOne) {
  const Tensor t = tensor({{1, 2, 3}, {4, 5, 6}}, DType::i32);
  EXPECT_EQ(t.at({1, 2}), 6);
  EXPECT_EQ(t.alias({3, 2}, {1, 3}, 0).at({2, 0}), 3);
  EXPECT_EQ(tensor(8).at({}), 8);
  EXPECT_EQ(tensor({{2.5}}).item(), 2.5);
  EXPECT_EQ(tensor({{2.5}}).item<std::int64_t>(), 2);
  EXPECT_EQ(from_range(std::vector{INT64_MAX}).item<std::int64_t>(), INT64_MAX);
  EXPECT_THAT([&] { t.item(); }, Throws<ShapeError>("item: expected one element; got i32[2,3]"));
  EXPECT_THROW(zeros({0}).item(), ShapeError);
  EXPECT_THAT([&] { t.at({1}); }, Throws<IndexError>("at: index [1] does not fit i32[2,3]"));
  EXPECT_THAT([&] { t.at({1, 3}); }, Throws<IndexError>("at: index [1,3] is outside i32[2,3]"));
  EXPECT_THROW(t.at({-1, 0}), IndexError);
  EXPECT_EQ(t.size(-1), 3);
  EXPECT_THAT([&] { t.size(2); }, Throws<ShapeError>("size: axis 2 is out of range for 2 dimensions"));
}

TEST(Elements, AreReachedOnlyAsWhatTheyAre) {
  Tensor t = tensor({{1, 2}, {3, 4}});
  const Tensor turned = t.alias({2, 2}, {1, 2}, 0);
  EXPECT_THAT(t.data<float>(), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT([&] { t.data<double>(); },
              Throws<DTypeError>("data: the tensor holds f32, not f64; convert it with to(x, DType)"));
  EXPECT_THAT([&] { turned.data<float>(); },
              Throws<ShapeError>("data: the tensor is a strided view; copy it with contiguous(x)"));
  EXPECT_THAT(t.alias({2}, {1}, 2).data<float>(), ElementsAre(3, 4)) << "a row is contiguous";
  const auto version = t.version();
  EXPECT_THROW(t.mutable_data<double>(), DTypeError);
  EXPECT_EQ(t.version(), version) << "a call that failed edited nothing";
}

TEST(Elements, AnEmptyViewPastTheEndHasNone) {
  EXPECT_TRUE(zeros({3, 0}).alias({0}, {1}, 2).data<float>().empty());
}

TEST(Copy, GoesThroughStridesInBothDirections) {
  const Tensor source = arange(6);
  Tensor target = zeros({4, 5}, DType::f64);
  target.alias({3, 2}, {5, -2}, 4).copy_(source.alias({3, 2}, {1, 3}, 0));
  EXPECT_THAT(values(target), ElementsAre(0, 0, 3, 0, 0, 0, 0, 4, 0, 1, 0, 0, 5, 0, 2, 0, 0, 0, 0, 0));
  target.alias({2}, {10}, 0).fill_(9);
  EXPECT_EQ(target.at({0, 0}) + target.at({2, 0}), 18);
}

TEST(Copy, OfALargeStridedTensorEqualsALoop) {
  const Tensor x = arange(60 * 70 * 30);
  const Tensor view = x.alias({70, 30, 60}, {30, 1, 2100}, 0);
  for (const int threads : {1, 3, num_threads()}) {
    set_num_threads(threads);
    const auto y = ints(empty({70, 30, 60}, DType::i32).copy_(view));
    std::size_t k = 0;
    for (std::int64_t i = 0; i < 70; ++i)
      for (std::int64_t j = 0; j < 30; ++j)
        for (std::int64_t l = 0; l < 60; ++l) ASSERT_EQ(y[k++], i * 30 + j + l * 2100);
  }
}

TEST(Copy, OverlappingViewsReadBeforeTheyWrite) {
  for (const std::int64_t n : {10, 100'000}) {
    Tensor up = arange(n), down = arange(n), turn = arange(n);
    up.alias({n - 1}, {1}, 1).copy_(up.alias({n - 1}, {1}, 0));
    down.alias({n - 1}, {1}, 0).copy_(down.alias({n - 1}, {1}, 1));
    turn.copy_(turn.alias({n}, {-1}, n - 1));
    std::vector<std::int64_t> u, d, t;
    for (std::int64_t i = 0; i < n; ++i)
      u.push_back(std::max<std::int64_t>(i - 1, 0)), d.push_back(std::min(i + 1, n - 1)),
          t.push_back(n - 1 - i);
    EXPECT_EQ(ints(up), u);
    EXPECT_EQ(ints(down), d);
    EXPECT_EQ(ints(turn), t);
  }
}

TEST(Copy, BroadcastsTheSourceOnly) {
  EXPECT_THAT(ints(zeros({2, 3}).copy_(tensor({1, 2, 3}))), ElementsAre(1, 2, 3, 1, 2, 3));
  EXPECT_THAT(ints(zeros({2, 3}).copy_(tensor({{1}, {2}}))), ElementsAre(1, 1, 1, 2, 2, 2));
  EXPECT_THAT(ints(zeros({2, 2}).copy_(tensor(7))), Each(7));
  EXPECT_EQ(zeros({0, 3}).copy_(tensor({1, 2, 3})).numel(), 0);
  Tensor t = zeros({3});
  EXPECT_THAT(
      [&] {
        t.copy_(zeros({2, 3}));
      },
      Throws<ShapeError>("copy_: f32[2,3] does not broadcast to f32[3]"));
  EXPECT_THROW(t.copy_(zeros({2})), ShapeError);
  EXPECT_THROW(tensor({1}).copy_(t), ShapeError);
  EXPECT_THROW(zeros({1}).copy_(zeros({0})), ShapeError);
  EXPECT_EQ(t.version(), 0u);
}

TEST(Aliases, ShareElementsAndTheCountOfEdits) {
  Tensor t = tensor({{1, 2}, {3, 4}});
  Tensor row = t.alias({2}, {1}, 2), handle = t, apart = t.detach();
  EXPECT_FALSE(t.is_sole_owner());
  const auto v = t.version();
  row.fill_(9);
  EXPECT_THAT(values(t), ElementsAre(1, 2, 9, 9));
  EXPECT_EQ(t.version(), v + 1);
  apart.mutable_data<float>()[0] = 5;
  EXPECT_EQ(handle.at({0, 0}), 5);
  EXPECT_EQ(row.version(), v + 2);
  handle.copy_(row);
  EXPECT_EQ(apart.version(), v + 3);
  row = handle = apart = {};
  EXPECT_TRUE(t.is_sole_owner());
}

TEST(Gradients, ForbidEditsThatCannotBeRecorded) {
  Tensor t = ones({2}).set_requires_grad(), plain = zeros({2});
  const std::string why =
      ": an in-place edit of a tensor that needs a gradient cannot be recorded; edit it under NoGrad, or its "
      "detach()";
  EXPECT_THAT([&] { t.fill_(2); }, Throws<GradError>("fill_" + why));
  EXPECT_THAT([&] { t.copy_(plain); }, Throws<GradError>("copy_" + why));
  EXPECT_THAT([&] { t.mutable_data<float>(); }, Throws<GradError>("mutable_data" + why));
  EXPECT_THROW(plain.copy_(t), GradError);
  EXPECT_THAT(values(t), Each(1));
  EXPECT_EQ(t.version() + plain.version(), 0u);
  {
    const NoGrad guard;
    t.fill_(2), plain.copy_(t), t.mutable_data<float>()[0] = 4;
  }
  t.detach().fill_(5);
  EXPECT_EQ(t.version(), 3u);
  EXPECT_THAT(values(plain), Each(2));
}

TEST(Gradients, BelongToFloatingTensors) {
  EXPECT_THAT(
      [] { arange(3).set_requires_grad(); },
      Throws<DTypeError>("set_requires_grad: only floating-point tensors have gradients; got i64[3]"));
  EXPECT_NO_THROW(arange(3).set_requires_grad(false));
  Tensor t = ones({2}, DType::bf16).set_requires_grad(), handle = t;
  EXPECT_TRUE(handle.requires_grad() && handle.is_leaf());
  EXPECT_FALSE(t.grad() || t.detach().requires_grad());
  EXPECT_THROW(t.set_grad(ones({3}, DType::bf16)), ShapeError);
  t.set_grad(ones({2}, DType::bf16).set_requires_grad());
  EXPECT_FALSE(handle.grad().requires_grad());
  EXPECT_FALSE(handle.set_requires_grad(false).grad());
  EXPECT_THROW(t.set_grad({}), GradError);
  EXPECT_THROW(t.register_hook({}), GradError);
}

TEST(Undefined, TensorsThrowAndNeverCrash) {
  Tensor u;
  EXPECT_FALSE(u || u.is_sole_owner());
  EXPECT_THAT([&] { u.shape(); }, Throws<Error>("an undefined tensor has no shape, dtype or elements"));
  EXPECT_THROW(u.dtype(), Error);
  EXPECT_THROW(u.data<float>(), Error);
  EXPECT_THROW(u.item(), Error);
  EXPECT_THROW(u.at({}), Error);
  EXPECT_THROW(u.to_vector<float>(), Error);
  EXPECT_THROW(u.alias({}, {}, 0), Error);
  EXPECT_THROW(u.detach(), Error);
  EXPECT_THROW(u.set_requires_grad(), Error);
  EXPECT_THROW(u.is_leaf(), Error);
  EXPECT_THROW(u.grad(), Error);
  EXPECT_THROW(ones({2}).copy_(u), Error);
  for (const bool recording : {true, false}) {
    const GradMode mode(recording);
    EXPECT_THROW(u.fill_(1), Error);
    EXPECT_THROW(u.copy_(ones({2})), Error);
    EXPECT_THROW(u.version(), Error);
    EXPECT_THROW(u.mutable_data<float>(), Error);
  }
}

}  // namespace
