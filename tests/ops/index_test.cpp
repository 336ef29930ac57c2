// Picking and adding by index against loops over the definition.
#include <bobbin/autograd.h>
#include <bobbin/ops.h>
#include <bobbin/parallel.h>
#include <bobbin/random.h>
#include <gtest/gtest.h>

#include <functional>

namespace bobbin {
namespace {

constexpr DType all_dtypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16,
                                DType::i64, DType::i32, DType::u8,   DType::boolean};

// Small whole numbers: every dtype but bool holds them and their sums exactly.
Tensor whole_numbers(const Shape& shape, DType dtype) { return to(randint(0, 5, shape), dtype); }

// Calls f(position) for every index of `shape` in row-major order.
void for_each_position(const Shape& shape, const std::function<void(const Dims&)>& f) {
  Dims position = Dims::filled(shape.size(), 0);
  for (std::int64_t n = numel(shape); n > 0; --n) {
    f(position);
    for (int i = shape.size() - 1; i >= 0 && ++position[i] == shape[i]; --i) position[i] = 0;
  }
}

Dims with(Dims position, int axis, std::int64_t i) {
  position[axis] = i;
  return position;
}

std::size_t flat(const Shape& shape, const Dims& position) {
  std::int64_t at = 0;
  for (int i = 0; i < shape.size(); ++i) at = at * shape[i] + position[i];
  return static_cast<std::size_t>(at);
}

using Values = std::vector<double>;

Values select_by_loop(const Tensor& x, int axis, const Tensor& index) {
  Shape shape = x.shape();
  shape[axis] = index.numel();
  const Values from = x.to_vector<double>();
  const auto pick = index.to_vector<std::int64_t>();
  Values y;
  for_each_position(shape, [&](const Dims& at) {
    y.push_back(from[flat(x.shape(), with(at, axis, pick[static_cast<std::size_t>(at[axis])]))]);
  });
  return y;
}

Values gather_by_loop(const Tensor& x, int axis, const Tensor& index) {
  const Values from = x.to_vector<double>();
  const auto pick = index.to_vector<std::int64_t>();
  Values y;
  for_each_position(index.shape(), [&](const Dims& at) {
    y.push_back(from[flat(x.shape(), with(at, axis, pick[y.size()]))]);
  });
  return y;
}

Values index_add_by_loop(const Tensor& x, int axis, const Tensor& index, const Tensor& source) {
  Values y = x.to_vector<double>();
  const Values add = source.to_vector<double>();
  const auto pick = index.to_vector<std::int64_t>();
  std::size_t k = 0;
  for_each_position(source.shape(), [&](const Dims& at) {
    y[flat(x.shape(), with(at, axis, pick[static_cast<std::size_t>(at[axis])]))] += add[k++];
  });
  return y;
}

Values scatter_add_by_loop(const Tensor& x, int axis, const Tensor& index, const Tensor& source) {
  Values y = x.to_vector<double>();
  const Values add = source.to_vector<double>();
  const auto pick = index.to_vector<std::int64_t>();
  std::size_t k = 0;
  for_each_position(index.shape(), [&](const Dims& at) {
    y[flat(x.shape(), with(at, axis, pick[k]))] += add[k];
    ++k;
  });
  return y;
}

class EveryDType : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Index, EveryDType, testing::ValuesIn(all_dtypes),
                         [](const auto& info) { return std::string(name(info.param)); });

TEST_P(EveryDType, SelectMatchesALoop) {
  const Tensor x = whole_numbers({4, 3, 5}, GetParam());
  for (int axis = 0; axis < 3; ++axis) {
    const Tensor index = randint(0, x.size(axis), {7});
    EXPECT_EQ(index_select(x, axis, index).to_vector<double>(), select_by_loop(x, axis, index)) << axis;
    EXPECT_EQ(index_select(x, axis, index).dtype(), GetParam());
  }
}

TEST_P(EveryDType, GatherMatchesALoop) {
  const Tensor x = whole_numbers({4, 3, 5}, GetParam());
  for (int axis = 0; axis < 3; ++axis) {
    Shape shape{3, 2, 4};  // smaller than x beside the axis, larger on it
    shape[axis] = 9;
    const Tensor index = randint(0, x.size(axis), shape);
    EXPECT_EQ(gather(x, axis, index).to_vector<double>(), gather_by_loop(x, axis, index)) << axis;
  }
}

TEST_P(EveryDType, AddingMatchesALoop) {
  const Tensor x = whole_numbers({4, 3, 5}, GetParam());
  if (GetParam() == DType::boolean) {
    EXPECT_THROW(index_add(x, 0, zeros({4}, DType::i64), x), DTypeError);
    EXPECT_THROW(scatter_add(x, 0, zeros({4, 3, 5}, DType::i64), x), DTypeError);
    return;
  }
  for (int axis = 0; axis < 3; ++axis) {
    Shape slices = x.shape(), shape{3, 2, 4};
    slices[axis] = 7;
    shape[axis] = 9;
    const Tensor index = randint(0, x.size(axis), {7}), source = whole_numbers(slices, GetParam());
    EXPECT_EQ(index_add(x, axis, index, source).to_vector<double>(),
              index_add_by_loop(x, axis, index, source));
    const Tensor grid = randint(0, x.size(axis), shape), values = whole_numbers(shape, GetParam());
    EXPECT_EQ(scatter_add(x, axis, grid, values).to_vector<double>(),
              scatter_add_by_loop(x, axis, grid, values));
  }
}

TEST(Index, ViewsGiveWhatTheirCopiesGive) {
  const Tensor x = permute(whole_numbers({4, 3, 5}, DType::f32), {2, 0, 1});
  const Tensor repeated = expand(whole_numbers({5, 1, 3}, DType::f32), {5, 4, 3});
  const Tensor index = slice(randint(0, 3, {10}), 0, 0, 10, 2);
  for (const Tensor& t : {x, repeated})
    for (int axis = 0; axis < 3; ++axis) {
      EXPECT_EQ(index_select(t, axis, index).to_vector<double>(), select_by_loop(t, axis, index)) << axis;
      const Tensor grid = permute(randint(0, 3, {3, 5, 4}), {1, 2, 0});
      EXPECT_EQ(gather(t, axis, grid).to_vector<double>(), gather_by_loop(t, axis, grid)) << axis;
      EXPECT_EQ(scatter_add(t, axis, grid, x).to_vector<double>(), scatter_add_by_loop(t, axis, grid, x))
          << axis;
    }
  const Tensor source = transpose(whole_numbers({3, 4, 5}, DType::f32), 0, 2),
               rows = tensor({2, 0, 2, 1, 2}, DType::i64);
  EXPECT_EQ(index_add(x, 0, rows, source).to_vector<double>(), index_add_by_loop(x, 0, rows, source));
}

// Each sum runs in the order of the index, so that it has one value to the last bit.
TEST(Index, SumsRunInOrder) {
  const Tensor x = randn({3, 40}, DType::f64), source = randn({500, 40}, DType::f64);
  const Tensor index = randint(0, 3, {500}), grid = randint(0, 3, {500, 40});
  EXPECT_EQ(index_add(x, 0, index, source).to_vector<double>(), index_add_by_loop(x, 0, index, source));
  EXPECT_EQ(scatter_add(x, 0, grid, source).to_vector<double>(), scatter_add_by_loop(x, 0, grid, source));
}

TEST(Index, SixteenBitSumsAreRoundedOnce) {
  for (const DType dtype : {DType::bf16, DType::f16}) {  // sums of ones in these types stop at 256 and 2048
    const Tensor x = zeros({2}, dtype), index = zeros({3000}, DType::i64), source = ones({3000}, dtype);
    const double expected = to(full({}, 3000), dtype).item();
    EXPECT_EQ(index_add(x, 0, index, source).at({0}), expected);
    EXPECT_EQ(scatter_add(x, 0, index, source).at({0}), expected);
  }
}

TEST(Index, RepeatedIndicesAccumulateTheirGradients) {
  Tensor x = randn({4, 3}, DType::f64);
  x.set_requires_grad();
  const Tensor index = tensor({2, 0, 2, 2}, DType::i64), g = whole_numbers({4, 3}, DType::f64);
  backward(index_select(x, 0, index), g);
  EXPECT_EQ(x.grad().to_vector<double>(), index_add_by_loop(zeros({4, 3}, DType::f64), 0, index, g));

  x.set_grad({});
  const Tensor grid = tensor({{1, 1, 3}, {1, 0, 3}}, DType::i64), h = whole_numbers({2, 3}, DType::f64);
  backward(gather(x, 0, grid), h);
  EXPECT_EQ(x.grad().to_vector<double>(), scatter_add_by_loop(zeros({4, 3}, DType::f64), 0, grid, h));

  x.set_grad({});
  const Tensor words = tensor({{3, 3}, {0, 3}}, DType::i64);
  backward(embedding(x, words), ones({2, 2, 3}, DType::f64));
  EXPECT_EQ(x.grad().to_vector<double>(), (Values{1, 1, 1, 0, 0, 0, 0, 0, 0, 3, 3, 3}));
}

TEST(Index, AddingSendsTheGradientBothWays) {
  Tensor x = randn({3, 2}, DType::f64), source = randn({4, 2}, DType::f64);
  x.set_requires_grad();
  source.set_requires_grad();
  const Tensor index = tensor({1, 1, 0, 1}, DType::i64), g = whole_numbers({3, 2}, DType::f64);
  backward(index_add(x, 0, index, source), g);
  EXPECT_EQ(x.grad().to_vector<double>(), g.to_vector<double>());
  EXPECT_EQ(source.grad().to_vector<double>(), select_by_loop(g, 0, index));
  // Only the source's derivative reads the index.
  Tensor mutable_index = clone(index);
  const Tensor y = index_add(x, 0, mutable_index, source.detach());
  mutable_index.fill_(0);
  EXPECT_NO_THROW(backward(y, g));
  const Tensor z = index_add(x, 0, mutable_index, source);
  mutable_index.fill_(1);
  EXPECT_THROW(backward(z, g), GradError);
}

TEST(Index, ThreadsDoNotChangeABit) {
  const int before = num_threads();
  const Tensor x = randn({50, 700}), source = randn({900, 700}), index = randint(0, 50, {900});
  const Tensor grid = randint(0, 50, {900, 700}), classes = randint(0, 100, {5000});
  std::vector<std::vector<float>> first;
  for (int threads : {1, 2, 5}) {
    set_num_threads(threads);
    std::vector<std::vector<float>> results;
    for (const Tensor& y : {index_select(x, 0, index), index_add(x, 0, index, source), gather(x, 0, grid),
                            scatter_add(x, 0, grid, source), one_hot(classes, 100, DType::f32),
                            scatter_add(transpose(x), 1, transpose(grid), transpose(source))})
      results.push_back(y.to_vector<float>());
    if (first.empty()) first = results;
    EXPECT_EQ(results, first) << threads;
  }
  set_num_threads(before);
}

// A batch of rows from a few columns of a data set: no copy of the set on the way.
TEST(Index, SelectingFromAViewCopiesTheRowsAlone) {
  const Tensor set = rand({2000, 100}), view = slice(set, 1, 10, 90), index = randint(0, 2000, {16});
  allocator().reset_peak();
  const std::int64_t live = allocator().stats().bytes_live;
  const Tensor batch = index_select(view, 0, index);
  EXPECT_LT(allocator().stats().bytes_peak - live, 64 * 1024);
  EXPECT_EQ(batch.to_vector<double>(), select_by_loop(view, 0, index));
}

TEST(Index, OneHotMarksTheClass) {
  for (const DType dtype : all_dtypes) {
    const Tensor index = randint(0, 7, {5, 3}), y = one_hot(index, 7, dtype);
    ASSERT_EQ(y.spec(), (TensorSpec{{5, 3, 7}, dtype, {}}));
    const auto pick = index.to_vector<std::int64_t>();
    const Values values = y.to_vector<double>();
    for (std::size_t i = 0; i < values.size(); ++i)
      EXPECT_EQ(values[i], pick[i / 7] == static_cast<std::int64_t>(i % 7) ? 1 : 0);
  }
}

// All of the indices are looked at, even where no element is asked for.
TEST(Index, AnIndexOutsideIsAnErrorWhereverItIs) {
  const std::int64_t far = std::int64_t{1} << 40;
  const Tensor x = rand({3, 0}), bad = from_range(std::vector<std::int64_t>{0, 2, far});
  EXPECT_THROW(index_select(x, 0, bad), IndexError);
  EXPECT_THROW(index_add(x, 0, bad, rand({3, 0})), IndexError);
  EXPECT_THROW(one_hot(bad, 3), IndexError);
  try {
    gather(rand({5}), 0, tensor({0, 1, 4, 7}, DType::i64));
    FAIL();
  } catch (const IndexError& e) {
    EXPECT_STREQ(e.what(), "gather: index 7 at flat position 3 is outside [0,5)");
  }
}

TEST(Index, AFailedCallLeavesItsOperandsAsTheyWere) {
  const Tensor x = randn({3, 2}), source = randn({2, 2}), index = tensor({0, 3}, DType::i64);
  const Tensor grid = tensor({{0, 1}, {2, -1}}, DType::i64);
  const auto before = x.to_vector<float>(), added = source.to_vector<float>();
  EXPECT_THROW(index_add(x, 0, index, source), IndexError);
  EXPECT_THROW(scatter_add(x, 0, grid, source), IndexError);
  EXPECT_THROW(index_select(x, 0, index), IndexError);
  EXPECT_THROW(gather(x, 0, grid), IndexError);
  EXPECT_THROW(index_add(x, 0, tensor({0}, DType::i64), source), ShapeError);
  EXPECT_THROW(embedding(x, source), DTypeError);
  EXPECT_EQ(x.to_vector<float>(), before);
  EXPECT_EQ(source.to_vector<float>(), added);
  EXPECT_EQ(x.version(), 0u);
  EXPECT_EQ(index.to_vector<double>(), (Values{0, 3}));
}

}  // namespace
}  // namespace bobbin
