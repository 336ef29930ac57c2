// Picking and adding by index on a GPU against the CPU: the same bits.
#include <cmath>

#include "tests/cuda/index_check.h"

using namespace bobbin;
using namespace bobbin::test;

namespace {

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
