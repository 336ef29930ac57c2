// Picking and adding by index on a GPU against the CPU: the same bits, the same messages.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>

using namespace bobbin;

namespace {

constexpr DType all_dtypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16,
                                DType::i64, DType::i32, DType::u8,   DType::boolean};
const Device gpu = Device::cuda();

class CudaIndex : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (!cuda_available(&why)) GTEST_SKIP() << why;
    manual_seed(31);
    poison_allocations(true);
  }
  void TearDown() override { poison_allocations(false); }
};

Tensor values(const Shape& shape, DType dtype) {
  if (is_floating(dtype)) return to(randn(shape, DType::f64) * 3, dtype);
  return to(randint(0, dtype == DType::boolean ? 2 : 256, shape), dtype);
}

// One tensor on both devices.
struct Both {
  Tensor cpu, gpu;
};

Both both(const Tensor& x) { return {x, to(x, gpu)}; }

enum class View { plain, transposed, stepped, expanded };
constexpr View all_views[] = {View::plain, View::transposed, View::stepped, View::expanded};

// A tensor of that shape seen through a view, made of what draw(shape) gives.
Both seen(View view, Shape shape, const std::function<Tensor(const Shape&)>& draw) {
  if (shape.empty()) return both(draw(shape));
  const int last = shape.size() - 1;
  Axes reversed;
  for (int i = last; i >= 0; --i) reversed.push_back(i);
  Shape base = shape;
  switch (view) {
    case View::plain:
      break;
    case View::transposed:
      for (int i = 0; i <= last; ++i) base[i] = shape[last - i];
      break;
    case View::stepped:
      base[last] = 2 * shape[last] + 1;
      break;
    case View::expanded:
      base[0] = 1;
      break;
  }
  const auto look = [&](const Tensor& x) {
    switch (view) {
      case View::transposed:
        return permute(x, reversed);
      case View::stepped:
        return slice(x, last, 1, base[last], 2);
      case View::expanded:
        return expand(x, shape);
      default:
        return x;
    }
  };
  const Both b = both(draw(base));
  return {look(b.cpu), look(b.gpu)};
}

void expect_same(const Tensor& got, const Tensor& want, const std::string& what) {
  ASSERT_EQ(got.device(), gpu) << what;
  ASSERT_EQ(got.shape(), want.shape()) << what;
  ASSERT_EQ(got.dtype(), want.dtype()) << what;
  const Tensor a = to(got, Device::cpu()), b = contiguous(want);
  const auto bytes = static_cast<std::size_t>(b.numel() * size_of(b.dtype()));
  if (bytes == 0 || std::memcmp(a.raw(), b.raw(), bytes) == 0) return;
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  for (std::size_t i = 0; i < x.size(); ++i)
    ASSERT_EQ(x[i], y[i]) << what << ": element " << i << " of " << want.spec();
  FAIL() << what << ": other bits";
}

std::string where(DType t, View a, View b, int axis) {
  return std::string(name(t)) + " views " + std::to_string(static_cast<int>(a)) + " and " +
         std::to_string(static_cast<int>(b)) + " axis " + std::to_string(axis);
}

TEST_F(CudaIndex, SelectMovesTheCpusBits) {
  for (const auto dtype : all_dtypes)
    for (const Shape& shape : {Shape{5, 4, 32}, Shape{3, 6, 7}})
      for (const View view : all_views)
        for (int axis = 0; axis < 3; ++axis) {
          const Both x = seen(view, shape, [&](const Shape& s) { return values(s, dtype); });
          for (const View how : {View::plain, View::stepped, View::expanded}) {
            const Both index = seen(how, {9}, [&](const Shape& s) { return randint(0, shape[axis], s); });
            expect_same(index_select(x.gpu, axis, index.gpu), index_select(x.cpu, axis, index.cpu),
                        where(dtype, view, how, axis));
          }
        }
}

TEST_F(CudaIndex, SelectTakesBatchesOfWideRows) {
  for (const auto dtype : {DType::u8, DType::f32, DType::f64})
    for (const std::int64_t width : {1, 2, 10, 196, 784, 781, 1000}) {
      const Both set = both(values({500, width}, dtype)), index = both(randint(0, 499, {128}));
      expect_same(index_select(set.gpu, 0, index.gpu), index_select(set.cpu, 0, index.cpu),
                  "rows of " + std::to_string(width));
      const auto misaligned = [&](const Tensor& t) { return slice(flatten(t), 0, 1, width * 499 + 1); };
      expect_same(index_select(reshape(misaligned(set.gpu), {499, width}), 0, index.gpu),
                  index_select(reshape(misaligned(set.cpu), {499, width}), 0, index.cpu),
                  "misaligned rows of " + std::to_string(width));
    }
}

TEST_F(CudaIndex, GatherMovesTheCpusBits) {
  for (const auto dtype : all_dtypes)
    for (const View view : all_views)
      for (const View how : all_views)
        for (int axis = 0; axis < 3; ++axis) {
          const Both x = seen(view, {5, 4, 9}, [&](const Shape& s) { return values(s, dtype); });
          Shape shape{3, 4, 6};
          shape[axis] = 11;
          const Both index =
              seen(how, shape, [&](const Shape& s) { return randint(0, x.cpu.size(axis), s); });
          expect_same(gather(x.gpu, axis, index.gpu), gather(x.cpu, axis, index.cpu),
                      where(dtype, view, how, axis));
        }
}

TEST_F(CudaIndex, GatherOfMoreThanABlock) {
  const Both x = both(values({300, 70}, DType::f32)), index = both(randint(0, 300, {513, 61}));
  expect_same(gather(x.gpu, 0, index.gpu), gather(x.cpu, 0, index.cpu), "axis 0");
  const Both across = both(randint(0, 70, {299, 100}));
  expect_same(gather(x.gpu, 1, across.gpu), gather(x.cpu, 1, across.cpu), "axis 1");
}

TEST_F(CudaIndex, AddingRunsInTheOrderOfTheIndex) {
  for (const auto dtype : all_dtypes) {
    if (dtype == DType::boolean) continue;
    for (const View view : all_views)
      for (int axis = 0; axis < 3; ++axis)
        for (const std::int64_t length : {1, 9, 128, 129, 300}) {
          const auto draw = [&](const Shape& s) { return values(s, dtype); };
          const Both x = seen(view, {3, 4, 16}, draw);
          Shape slices = x.cpu.shape(), part{2, 4, 5};
          slices[axis] = part[axis] = length;
          const auto choose = [&](const Shape& s) { return randint(0, x.cpu.size(axis), s); };
          const Both source = seen(view, slices, draw), index = seen(View::stepped, {length}, choose);
          const std::string what = where(dtype, view, view, axis) + " length " + std::to_string(length);
          expect_same(index_add(x.gpu, axis, index.gpu, source.gpu),
                      index_add(x.cpu, axis, index.cpu, source.cpu), "index_add " + what);
          const Both some = seen(view, part, draw), grid = seen(view, part, choose);
          expect_same(scatter_add(x.gpu, axis, grid.gpu, some.gpu),
                      scatter_add(x.cpu, axis, grid.cpu, some.cpu), "scatter_add " + what);
        }
  }
}

// Runs of equal indices whose lengths lie about the sizes that kernels treat apart, in any order.
TEST_F(CudaIndex, AddingLongRuns) {
  std::vector<std::int64_t> targets;
  std::int64_t target = 0;
  for (const std::size_t length : {1, 7, 8, 9, 127, 128, 129, 255, 256, 257, 2047, 2048, 2049, 5000})
    targets.insert(targets.end(), length, target += 6);
  const Tensor grouped = from_range(targets);
  const std::int64_t n = grouped.numel();
  for (const Tensor& index : {grouped, index_select(grouped, 0, randperm(n))})
    for (const auto dtype : {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64, DType::u8})
      for (const auto& [outer, inner] : {std::pair{1, 1}, {1, 3}, {1, 33}, {2, 16}, {40, 1}, {3, 20}}) {
        const Both x = both(values({outer, 97, inner}, dtype)), i = both(index),
                   source = both(values({outer, n, inner}, dtype));
        const Tensor y = index_add(x.gpu, 1, i.gpu, source.gpu);
        expect_same(y, index_add(x.cpu, 1, i.cpu, source.cpu),
                    std::string(name(dtype)) + " " + std::to_string(outer) + " x " + std::to_string(inner));
        expect_same(index_add(x.gpu, 1, i.gpu, source.gpu), to(y, Device::cpu()), "a second run");
      }
}

TEST_F(CudaIndex, AMillionOnOneElement) {
  constexpr std::int64_t n = 1'000'000;
  const Both x = both(values({1}, DType::f32)), index = both(zeros({n}, DType::i64)),
             source = both(rand({n}));
  expect_same(index_add(x.gpu, 0, index.gpu, source.gpu), index_add(x.cpu, 0, index.cpu, source.cpu),
              "index_add");
  expect_same(scatter_add(x.gpu, 0, index.gpu, source.gpu), scatter_add(x.cpu, 0, index.cpu, source.cpu),
              "scatter_add");
}

TEST_F(CudaIndex, ScatteringOntoFewElements) {
  for (const auto dtype : {DType::f64, DType::f32, DType::bf16, DType::i32}) {
    const Both x = both(values({5, 6}, dtype));
    for (int axis = 0; axis < 2; ++axis) {
      const Shape shape = axis == 0 ? Shape{3000, 6} : Shape{5, 3000};
      const Both source = both(values(shape, dtype)), index = both(randint(0, x.cpu.size(axis), shape));
      expect_same(scatter_add(x.gpu, axis, index.gpu, source.gpu),
                  scatter_add(x.cpu, axis, index.cpu, source.cpu), std::string(name(dtype)));
    }
  }
}

TEST_F(CudaIndex, AddingKeepsMinusZero) {
  for (const std::int64_t length : {2, 200}) {
    const Both x = both(full({3}, -0.0)), index = both(zeros({length}, DType::i64)),
               source = both(full({length}, -0.0));
    const Tensor y = to(index_add(x.gpu, 0, index.gpu, source.gpu), Device::cpu());
    for (const float v : y.to_vector<float>()) EXPECT_TRUE(v == 0 && std::signbit(v));
  }
}

TEST_F(CudaIndex, EmbeddingAndItsGradient) {
  for (const auto dtype : {DType::f32, DType::bf16})
    for (const Shape& tokens : {Shape{4, 25}, Shape{16, 64}}) {
      Both weight = both(values({101, 64}, dtype));
      weight.cpu.set_requires_grad();
      weight.gpu.set_requires_grad();
      const Both index = both(randint(0, 101, tokens));
      const Tensor y = embedding(weight.gpu, index.gpu), want = embedding(weight.cpu, index.cpu);
      expect_same(y.detach(), want.detach(), "embedding");
      const Both cotangent = both(values(want.shape(), dtype));
      expect_same(grad(y, {{weight.gpu}}, cotangent.gpu)[0], grad(want, {{weight.cpu}}, cotangent.cpu)[0],
                  "its gradient");
    }
}

TEST_F(CudaIndex, OneHotWritesTheCpusBits) {
  for (const auto dtype : all_dtypes)
    for (const std::int64_t classes : {1, 2, 3, 10, 16, 31, 1000})
      for (const std::int64_t n : {0, 1, 5, 333}) {
        const Both index = both(randint(0, classes, {n}));
        expect_same(one_hot(index.gpu, classes, dtype), one_hot(index.cpu, classes, dtype),
                    std::string(name(dtype)) + " " + std::to_string(n) + " of " + std::to_string(classes));
      }
  const Both index = both(randint(0, 5, {7, 3}));
  expect_same(one_hot(transpose(index.gpu), 5), one_hot(transpose(index.cpu), 5), "of a view");
}

TEST_F(CudaIndex, NothingAndOneElement) {
  const auto check = [](const Shape& x_shape, int axis, const Shape& index_shape) {
    const Both x = both(values(x_shape, DType::f32)), index = both(zeros(index_shape, DType::i64));
    const std::string what = "x of " + std::to_string(x.cpu.numel());
    if (index_shape.size() == 1) {
      const Tensor y = index_select(x.cpu, axis, index.cpu);
      expect_same(index_select(x.gpu, axis, index.gpu), y, what);
      expect_same(index_add(x.gpu, axis, index.gpu, to(y, gpu)), index_add(x.cpu, axis, index.cpu, y), what);
    }
    if (index_shape.size() == x_shape.size()) {
      const Tensor y = gather(x.cpu, axis, index.cpu);
      expect_same(gather(x.gpu, axis, index.gpu), y, what);
      expect_same(scatter_add(x.gpu, axis, index.gpu, to(y, gpu)), scatter_add(x.cpu, axis, index.cpu, y),
                  what);
    }
  };
  check({1}, 0, {1});
  check({1}, 0, {5});
  check({1}, 0, {0});
  check({0}, 0, {0});
  check({1, 1, 1}, 1, {1});
  check({2, 1, 3}, 1, {1});
  check({3, 4}, 1, {0});
  check({3, 0}, 0, {2});
  check({0, 3}, 0, {0});
  check({0, 3}, 1, {2});
  check({3, 4}, 1, {3, 0});
  check({0, 4}, 0, {0, 2});
  check({1, 1}, 1, {1, 2});
}

std::string message(const std::function<void()>& f) {
  try {
    f();
    synchronize(gpu);
  } catch (const IndexError& e) {
    return e.what();
  }
  return "nothing was thrown";
}

// The CPU's message, at the wait; and the device works on.
TEST_F(CudaIndex, AnIndexOutsideIsReportedAsOnTheCpu) {
  const auto check = [](const Both& x, const Both& index,
                        const std::function<void(const Tensor&, const Tensor&)>& f) {
    const std::string want = message([&] { f(x.cpu, index.cpu); });
    ASSERT_NE(want, "nothing was thrown");
    EXPECT_EQ(message([&] { f(x.gpu, index.gpu); }), want);
    EXPECT_EQ(message([] {}), "nothing was thrown");
    const Both good = both(randint(0, 3, {4}));
    expect_same(index_select(good.gpu, 0, good.gpu), index_select(good.cpu, 0, good.cpu), "afterwards");
  };
  for (const std::int64_t n : {3, 100, 1000})
    for (const std::int64_t bad : {-1, 3, 1 << 20})
      for (int axis = 0; axis < 2; ++axis) {
        Tensor i = randint(0, 3, {n});
        for (const std::int64_t at : {n / 2, n - 1})
          slice(i, 0, at, at + 1).fill_(static_cast<double>(bad + at));
        slice(i, 0, n / 3, n / 3 + 1).fill_(static_cast<double>(bad));
        const Both x = both(values({3, 3, 8}, DType::f32)), index = both(i);
        check(x, index, [=](const Tensor& x, const Tensor& i) { index_select(x, axis, i); });
        check(x, index, [=](const Tensor& x, const Tensor& i) {
          Shape shape = x.shape();
          shape[axis] = n;
          index_add(x, axis, i, ones(shape, DType::f32, x.device()));
        });
        check(x, index, [](const Tensor&, const Tensor& i) { one_hot(i, 3); });
        const Both column = both(values({3}, DType::f32));
        check(column, index, [](const Tensor& x, const Tensor& i) { gather(x, 0, i); });
        check(column, index, [](const Tensor& x, const Tensor& i) {
          scatter_add(x, 0, i, ones(i.shape(), DType::f32, i.device()));
        });
        const auto wide = [](const Tensor& i) { return expand(reshape(i, {i.numel(), 1}), {i.numel(), 2}); };
        const Both pair = both(values({3, 2}, DType::f32));
        check(pair, index, [=](const Tensor& x, const Tensor& i) { gather(x, 0, wide(i)); });
        check(pair, index, [=](const Tensor& x, const Tensor& i) {
          scatter_add(x, 0, wide(i), ones({n, 2}, DType::f32, i.device()));
        });
      }
  const Both zero = both(zeros({1}, DType::i64)), far = both(full({2}, 9, DType::i64));
  const auto select = [](const Tensor& x, const Tensor& i) { index_select(x, 0, i); };
  const auto add = [](const Tensor& x, const Tensor& i) {
    Shape shape = x.shape();
    shape[0] = i.numel();
    index_add(x, 0, i, ones(shape, DType::f32, x.device()));
  };
  check(both(zeros({0, 3})), zero, select);
  check(both(zeros({3, 0})), far, select);
  check(both(zeros({0, 3})), zero, add);
  check(both(zeros({3, 0})), far, add);
}

TEST_F(CudaIndex, AnIndexOutsideLeavesZerosAndTheRestRight) {
  const Both x = both(values({4, 5}, DType::f32));
  const Tensor y = index_select(x.gpu, 0, to(tensor({1, 7, 3}, DType::i64), gpu));
  EXPECT_THROW(synchronize(gpu), IndexError);
  const Tensor good = index_select(x.cpu, 0, tensor({1, 3}, DType::i64));
  expect_same(slice(y, 0, 0, 3, 2), good, "the rows beside it");
  EXPECT_EQ(slice(y, 0, 1, 2).to_vector<double>(), std::vector<double>(5));
}

TEST_F(CudaIndex, NothingWaits) {
  const Both x = both(values({50, 8}, DType::f32)), few = both(randint(0, 50, {20})),
             many = both(randint(0, 50, {2000}));
  const Tensor source = to(values({2000, 8}, DType::f32), gpu);
  const auto before = synchronizations();
  index_select(x.gpu, 0, many.gpu);
  index_add(x.gpu, 0, few.gpu, slice(source, 0, 0, 20));
  index_add(x.gpu, 0, many.gpu, source);
  scatter_add(x.gpu, 0, expand(reshape(many.gpu, {2000, 1}), {2000, 8}), source);
  one_hot(many.gpu, 50);
  EXPECT_EQ(synchronizations(), before);
}

}  // namespace
