// concat, stack, split and pad against loops.
#include <bobbin/autograd.h>
#include <bobbin/ops.h>
#include <bobbin/parallel.h>
#include <bobbin/random.h>
#include <gtest/gtest.h>

#include "ops/view/pad.h"

namespace bobbin {
namespace {

using Values = std::vector<double>;

constexpr DType all_dtypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16,
                                DType::i64, DType::i32, DType::u8,   DType::boolean};

Tensor whole_numbers(const Shape& shape, DType dtype = DType::f64) { return to(randint(0, 9, shape), dtype); }

// concat along axis 1 of 3, element by element.
Values concat_by_loop(const std::vector<Tensor>& parts) {
  Values y;
  for (std::int64_t i = 0; i < parts[0].size(0); ++i)
    for (const Tensor& part : parts)
      for (std::int64_t j = 0; j < part.size(1); ++j)
        for (std::int64_t k = 0; k < part.size(2); ++k) y.push_back(part.at({i, j, k}));
  return y;
}

TEST(Concat, MatchesALoopForEveryDType) {
  for (const DType dtype : all_dtypes) {
    const std::vector<Tensor> parts{whole_numbers({3, 2, 4}, dtype), whole_numbers({3, 0, 4}, dtype),
                                    permute(whole_numbers({4, 3, 5}, dtype), {1, 2, 0}),
                                    expand(whole_numbers({3, 1, 1}, dtype), {3, 2, 4})};
    for (int axis : {1, -2}) {
      const Tensor y = concat(parts, axis);
      ASSERT_EQ(y.spec(), (TensorSpec{{3, 9, 4}, dtype, {}}));
      EXPECT_EQ(y.to_vector<double>(), concat_by_loop(parts));
    }
  }
}

// Inputs past the 63rd share a bit in Needs.
TEST(Concat, SendsEachOfManyInputsItsGradient) {
  std::vector<Tensor> parts;
  for (int i = 0; i < 100; ++i) {
    parts.push_back(randn({2, i % 3 + 1}, DType::f64));
    if (i % 4 != 1) parts.back().set_requires_grad();
  }
  const Tensor y = concat(parts, 1), g = randn(y.shape(), DType::f64);
  backward(y, g);
  std::int64_t at = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::int64_t width = parts[i].size(1);
    if (i % 4 == 1)
      EXPECT_FALSE(parts[i].grad()) << i;
    else
      EXPECT_EQ(parts[i].grad().to_vector<double>(), narrow(g, 1, at, width).to_vector<double>()) << i;
    at += width;
  }
}

TEST(Concat, OfOneTensorTwiceAddsBothGradients) {
  Tensor x = randn({2, 2}, DType::f64);
  x.set_requires_grad();
  const Tensor g = whole_numbers({4, 2});
  backward(concat({x, x}), g);
  EXPECT_EQ(x.grad().to_vector<double>(), (narrow(g, 0, 0, 2) + narrow(g, 0, 2, 2)).to_vector<double>());
}

TEST(Stack, PutsTensorsAlongANewAxis) {
  const Tensor a = whole_numbers({2, 3}), b = transpose(whole_numbers({3, 2}));
  for (int axis : {0, 1, 2, -1}) {
    const Tensor y = stack({a, b}, axis);
    const int place = axis < 0 ? axis + 3 : axis;
    Shape shape = a.shape();
    shape.insert(place, 2);
    ASSERT_EQ(y.shape(), shape);
    EXPECT_EQ(select(y, place, 0).to_vector<double>(), a.to_vector<double>());
    EXPECT_EQ(select(y, place, 1).to_vector<double>(), b.to_vector<double>());
  }
}

TEST(Split, GivesViewsThatConcatPutsTogetherAgain) {
  const Tensor x = whole_numbers({7, 3});
  for (std::int64_t size : {1, 2, 3, 7, 100})
    for (int axis : {0, 1, -1}) {
      const auto pieces = split(x, size, axis);
      EXPECT_EQ(static_cast<std::int64_t>(pieces.size()), (x.size(axis) + size - 1) / size);
      for (const Tensor& piece : pieces) EXPECT_EQ(piece.storage(), x.storage());
      EXPECT_EQ(concat(pieces, axis).to_vector<double>(), x.to_vector<double>());
    }
  const auto pieces = split(zeros({0, 3}), 2);
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0].shape(), (Shape{0, 3}));
}

TEST(Split, SendsEachPieceItsGradient) {
  Tensor x = randn({5, 2}, DType::f64);
  x.set_requires_grad();
  const auto pieces = split(x, 2);
  backward(concat({pieces[2], pieces[0] * 3}), ones({3, 2}, DType::f64));
  EXPECT_EQ(x.grad().to_vector<double>(), (Values{3, 3, 3, 3, 0, 0, 0, 0, 1, 1}));
}

TEST(Pad, SurroundsForEveryDType) {
  for (const DType dtype : all_dtypes) {
    const Tensor x = transpose(whole_numbers({3, 2}, dtype));
    const Tensor y = pad(x, {{1, 0}, {2, 3}}, 1);
    ASSERT_EQ(y.spec(), (TensorSpec{{3, 8}, dtype, {}}));
    for (std::int64_t i = 0; i < 3; ++i)
      for (std::int64_t j = 0; j < 8; ++j) {
        const bool inside = i >= 1 && j >= 2 && j < 5;
        EXPECT_EQ(y.at({i, j}), inside ? x.at({i - 1, j - 2}) : 1) << dtype << i << j;
      }
  }
  EXPECT_EQ(pad(zeros({0, 2}), {{1, 1}, {0, 1}}, 3).to_vector<double>(), Values(6, 3));
}

TEST(Pad, SendsTheGradientOfTheMiddle) {
  Tensor x = randn({2, 3}, DType::f64);
  x.set_requires_grad();
  const Tensor g = randn({5, 4}, DType::f64);
  backward(pad(x, {{1, 2}, {0, 1}}, 7), g);
  EXPECT_EQ(x.grad().to_vector<double>(), narrow(narrow(g, 0, 1, 2), 1, 0, 3).to_vector<double>());
}

TEST(PadStrided, IsTheTransposeOfSlice) {
  for (std::int64_t start : {0, 1, 5})
    for (std::int64_t step : {1, 2, 3, 9}) {
      Tensor x = randn({3, 7}, DType::f64);
      x.set_requires_grad();
      const Tensor part = slice(x, 1, start, 7, step), g = whole_numbers(part.shape());
      backward(part, g);
      Values expected(21, 0);
      for (std::int64_t i = 0; i < 3; ++i)
        for (std::int64_t j = 0; j < part.size(1); ++j)
          expected[static_cast<std::size_t>(i * 7 + start + j * step)] = g.at({i, j});
      EXPECT_EQ(x.grad().to_vector<double>(), expected) << start << ':' << step;
    }
  Tensor x = randn({3}, DType::f64);
  x.set_requires_grad();
  backward(slice(x, 0, 3, 3), zeros({0}, DType::f64));
  EXPECT_EQ(x.grad().to_vector<double>(), Values(3, 0));
}

TEST(PadStrided, IsDifferentiatedBySlices) {
  Tensor x = randn({2, 3}, DType::f64);
  x.set_requires_grad();
  const Tensor g = randn({4, 8}, DType::f64);
  backward(pad_strided(x, {4, 8}, {1, 1}, {2, 3}), g);
  EXPECT_EQ(x.grad().to_vector<double>(), slice(slice(g, 0, 1, 4, 2), 1, 1, 8, 3).to_vector<double>());
}

TEST(Concat, ThreadsDoNotChangeABit) {
  const int before = num_threads();
  const Tensor a = randn({300, 200}), b = transpose(randn({150, 300}));
  std::vector<std::vector<float>> first;
  for (int threads : {1, 2, 5}) {
    set_num_threads(threads);
    const std::vector<std::vector<float>> results{concat({a, b, a}, 1).to_vector<float>(),
                                                  pad(b, {{1, 2}, {3, 4}}, 0.5).to_vector<float>()};
    if (first.empty()) first = results;
    EXPECT_EQ(results, first) << threads;
  }
  set_num_threads(before);
}

TEST(Concat, AFailedCallLeavesItsOperandsAsTheyWere) {
  const Tensor a = randn({2, 3}), b = randn({3, 3});
  const auto before = a.to_vector<float>();
  EXPECT_THROW(concat({a, b}, 1), ShapeError);
  EXPECT_THROW(concat({a, zeros({2, 3}, DType::f64)}), DTypeError);
  EXPECT_THROW(concat(std::vector<Tensor>{}), ValueError);
  EXPECT_THROW(stack({a, b}), ShapeError);
  EXPECT_THROW(stack(std::vector<Tensor>{}), ValueError);
  EXPECT_THROW(split(a, 0), ValueError);
  EXPECT_THROW(pad(a, {{0, -1}, {0, 0}}), ValueError);
  EXPECT_THROW(pad(a, {{0, 0}}), ShapeError);
  EXPECT_THROW(concat({a, Tensor()}), Error);
  EXPECT_EQ(a.to_vector<float>(), before);
  EXPECT_EQ(a.version(), 0u);
}

}  // namespace
}  // namespace bobbin
