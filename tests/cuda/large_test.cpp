// Tensors of 2^31 + 65536 elements on a GPU, where 32-bit indices would wrap: compares elements at the ends
// and around element 2^31. A case is skipped if the GPU has too little memory for it.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/cuda/cuda_fixture.h"

using namespace bobbin;

namespace {

constexpr std::int64_t rows = 32769, columns = 65536, n = rows * columns, wrap = std::int64_t{1} << 31;
static_assert(n == wrap + 65536);
constexpr std::int64_t places[] = {0, 65535, wrap - 1, wrap, wrap + 1, n - 2, n - 1};

class CudaLarge : public SeededCuda<31, false> {
  void TearDown() override {
    if (cuda_available()) allocator(gpu).release_cached();
  }
};

template<class F>
void where_memory_allows(F&& body) {
  try {
    body();
  } catch (const OutOfMemory& e) {
    GTEST_SKIP() << e.what();
  }
}

// 0 but at places[i], which holds i + 1.
Tensor marked(DType d) {
  Tensor x = zeros({n}, d, gpu);
  double mark = 0;
  for (const auto p : places) narrow(x, 0, p, 1).fill_(++mark);
  return x;
}
double value(const Tensor& x, std::int64_t flat) { return narrow(reshape(x, {-1}), 0, flat, 1).item(); }

// y is f of what marked() holds; element i of x went to element `moved(i)`.
void expect_marks(
    const Tensor& y, double (*f)(double) = [](double v) { return v; },
    std::int64_t (*moved)(std::int64_t) = [](std::int64_t i) { return i; }) {
  double mark = 0;
  for (const auto p : places) EXPECT_EQ(value(y, moved(p)), f(++mark)) << "from element " << p;
  for (const std::int64_t p : {std::int64_t{1}, wrap - 2, wrap + 2, n - 3})
    EXPECT_EQ(value(y, moved(p)), f(0)) << "from element " << p;
}

// The CPU's f64 result of some slices along the axis, which f takes as its last.
void expect_slices(const Tensor& y, const std::vector<Tensor>& x, int axis, double relative,
                   const std::function<Tensor(const std::vector<Tensor>&)>& f) {
  const int across = 1 - axis;
  for (const std::int64_t i : {std::int64_t{0}, y.size(across) / 2, y.size(across) - 1}) {
    const auto slice_of = [&](const Tensor& t) {
      return to(to(select(t, across, i), Device::cpu()), DType::f64);
    };
    std::vector<Tensor> there;
    for (auto& t : x) there.push_back(slice_of(t));
    const auto got = slice_of(y).to_vector<double>(), want = f(there).to_vector<double>();
    double most = 0, worst = 0;
    for (std::size_t k = 0; k < got.size(); ++k) {
      most = std::max(most, std::abs(want[k]));
      const double error = std::abs(got[k] - want[k]);
      worst = error <= worst ? worst : error;
    }
    EXPECT_LE(worst, relative * most) << "slice " << i << " of " << y.spec() << " along axis " << axis;
  }
}

TEST_F(CudaLarge, Elementwise) {
  for (const DType d : {DType::u8, DType::bf16, DType::f32})
    where_memory_allows([&] {
      const Tensor x = marked(d);
      expect_marks(x + x, [](double v) { return 2 * v; });
      expect_marks(maximum(x, scalar(4, x)), [](double v) { return std::max(v, 4.0); });
      expect_marks(where(x > 3, scalar(9, x), x), [](double v) { return v > 3 ? 9 : v; });
      const Tensor last = one_hot(to(tensor({columns - 1}, DType::i64), gpu), columns, d) * 3;
      const Tensor y = reshape(x, {rows, columns}) + reshape(last, {columns});
      EXPECT_EQ(value(y, n - 1), 7 + 3);
      EXPECT_EQ(value(y, n - 2), 6);
      EXPECT_EQ(value(y, wrap - 1), 3 + 3);
    });
}

TEST_F(CudaLarge, Copies) {
  where_memory_allows([] {
    const Tensor x = marked(DType::u8);
    expect_marks(clone(x));
    expect_marks(to(x, DType::bf16));
    expect_marks(
        clone(transpose(reshape(x, {rows, columns}))), [](double v) { return v; },
        [](std::int64_t i) { return i % columns * rows + i / columns; });
    expect_marks(transpose(clone(transpose(reshape(x, {rows, columns})))));
    EXPECT_EQ(narrow(x, 0, n - 3, 3).to_vector<int>(), (std::vector<int>{0, 6, 7}));
  });
  where_memory_allows([] {
    Tensor x = zeros({n}, DType::u8, gpu);
    slice(x, 0, 1, n, 2).fill_(5);
    slice(x, 0, 2, n, 4).copy_(to(tensor(8, DType::u8), gpu));
    EXPECT_EQ(narrow(x, 0, n - 4, 4).to_vector<int>(), (std::vector<int>{0, 5, 8, 5}));
    EXPECT_EQ(narrow(x, 0, wrap - 2, 4).to_vector<int>(), (std::vector<int>{8, 5, 0, 5}));
  });
}

TEST_F(CudaLarge, JoiningAndPadding) {
  where_memory_allows([] {
    const Tensor x = marked(DType::u8);
    expect_marks(concat({narrow(x, 0, 0, wrap - 7), narrow(x, 0, wrap - 7, n - wrap + 7)}));
    const Tensor y = pad(narrow(x, 0, 1, n - 1), {{3, 2}}, 9);
    EXPECT_EQ(y.numel(), n + 4);
    EXPECT_EQ(narrow(y, 0, n - 1, 5).to_vector<int>(), (std::vector<int>{0, 6, 7, 9, 9}));
    EXPECT_EQ(value(y, wrap + 2), 4);
  });
}

TEST_F(CudaLarge, Reductions) {
  where_memory_allows([] {
    const Tensor x = marked(DType::u8), table = reshape(x, {rows, columns});
    EXPECT_EQ(sum(x).item<std::int64_t>(), 28);
    EXPECT_EQ(sum(x > 0).item<std::int64_t>(), 7);
    EXPECT_EQ(argmax(x).item<std::int64_t>(), n - 1);
    const auto last = sum(table, {1}).to_vector<std::int64_t>();
    EXPECT_EQ(last[static_cast<std::size_t>(rows - 1)], 4 + 5 + 6 + 7);
    EXPECT_EQ(last[static_cast<std::size_t>(rows - 2)], 3);
    const auto down = sum(table, {0}).to_vector<std::int64_t>();
    EXPECT_EQ(down.front(), 1 + 4);
    EXPECT_EQ(down.back(), 2 + 3 + 7);
  });
  where_memory_allows([] {
    const Tensor x = ones({n}, DType::f32, gpu);
    EXPECT_EQ(sum(x).item(), static_cast<double>(n));
    EXPECT_EQ(mean(x).item(), 1);
    EXPECT_EQ(var(x).item(), 0);
    EXPECT_NEAR(logsumexp(x).item(), 1 + std::log(static_cast<double>(n)), 1e-5);
    narrow(x, 0, n - 1, 1).fill_(3);
    EXPECT_EQ(amax(x).item(), 3);
    EXPECT_EQ(argmax(x).item<std::int64_t>(), n - 1);
  });
  where_memory_allows([] {
    const Tensor y = cumsum(marked(DType::u8), 0);
    EXPECT_EQ(narrow(y, 0, n - 3, 3).to_vector<int>(), (std::vector<int>{15, 21, 28}));
    EXPECT_EQ(narrow(y, 0, wrap - 2, 4).to_vector<int>(), (std::vector<int>{3, 6, 10, 15}));
  });
}

struct Rows {
  Shape shape;
  DType dtype;
  int axis;
};

TEST_F(CudaLarge, Softmax) {
  for (const auto& [shape, dtype, axis] :
       {Rows{{rows, columns}, DType::f32, 1}, Rows{{2749700, 781}, DType::bf16, 1},
        Rows{{rows, columns}, DType::bf16, 0}})
    where_memory_allows([&, shape = shape, dtype = dtype, axis = axis] {
      const double relative = dtype == DType::f32 ? 1e-5 : 1e-2;
      const NoGrad quiet;
      const Tensor x = randn(shape, dtype, gpu);
      const Tensor y = softmax(x, axis);
      expect_slices(y, {x}, axis, relative, [](auto& t) { return softmax(t[0]); });
      expect_slices(softmax_backward(y, x, axis), {y, x}, axis, relative,
                    [](auto& t) { return softmax_backward(t[0], t[1]); });
      expect_slices(log_softmax(x, axis), {x}, axis, relative, [](auto& t) { return log_softmax(t[0]); });
    });
}

TEST_F(CudaLarge, ARowOfMoreThan2To31Elements) {
  where_memory_allows([] {
    Tensor x = zeros({n}, DType::bf16, gpu);
    EXPECT_NEAR(value(softmax(x), n - 1) * static_cast<double>(n), 1, 0x1p-8);
    narrow(x, 0, n - 1, 1).fill_(40);
    const Tensor y = softmax(x);
    EXPECT_EQ(value(y, n - 1), 1);
    EXPECT_NEAR(value(y, wrap) * std::exp(40.0), 1, 0x1p-8);
  });
}

TEST_F(CudaLarge, CrossEntropy) {
  where_memory_allows([] {
    constexpr std::int64_t count = 2749700, classes = 781;
    Tensor x = randn({count, classes}, DType::bf16, gpu).set_requires_grad();
    const Tensor target = randint(0, classes, {count}, DType::i64, gpu);
    const Tensor loss = cross_entropy(x, target, {.reduction = Reduction::sum});
    backward(loss);
    const Tensor grads = x.grad();
    for (const std::int64_t i : {std::int64_t{0}, count / 2, count - 1}) {
      Tensor row = to(to(narrow(x.detach(), 0, i, 1), Device::cpu()), DType::f64).set_requires_grad();
      backward(cross_entropy(row, to(narrow(target, 0, i, 1), Device::cpu())));
      const auto got = narrow(grads, 0, i, 1).to_vector<double>(), want = row.grad().to_vector<double>();
      for (std::size_t k = 0; k < got.size(); ++k)
        EXPECT_NEAR(got[k], want[k], 0x1p-8 * std::abs(want[k]) + 1e-5) << "row " << i << ", class " << k;
    }
  });
}

TEST_F(CudaLarge, PickingByIndex) {
  where_memory_allows([] {
    const Tensor x = marked(DType::u8), table = reshape(x, {rows, columns});
    const Tensor y = index_select(table, 0, to(tensor({rows - 1, 0, rows - 2}, DType::i64), gpu));
    EXPECT_EQ(value(y, columns - 1), 7);
    EXPECT_EQ(value(y, columns), 1);
    EXPECT_EQ(value(y, 3 * columns - 1), 3);
    const Tensor last = gather(x, 0, to(tensor({n - 1, 0, wrap, wrap - 1}, DType::i64), gpu));
    EXPECT_EQ(last.to_vector<int>(), (std::vector<int>{7, 1, 4, 3}));
    const Tensor index = to(tensor({n - 1, wrap, n - 1}, DType::i64), gpu);
    const Tensor more = to(tensor({10, 20, 30}, DType::u8), gpu);
    for (const Tensor& sums : {scatter_add(x, 0, index, more), index_add(x, 0, index, more)}) {
      EXPECT_EQ(value(sums, n - 1), 7 + 10 + 30);
      EXPECT_EQ(value(sums, wrap), 4 + 20);
      EXPECT_EQ(value(sums, n - 2), 6);
    }
    EXPECT_THROW(gather(x, 0, to(tensor({n}, DType::i64), gpu)).item(), IndexError);
  });
  where_memory_allows([] {
    const Tensor x = randint(0, 200, {3, columns}, DType::u8, gpu), index = randint(0, 3, {rows});
    const Tensor y = index_select(x, 0, to(index, gpu));
    for (const std::int64_t i : {std::int64_t{0}, rows - 2, rows - 1})
      EXPECT_EQ(select(y, 0, i).to_vector<int>(),
                select(x, 0, select(index, 0, i).item<std::int64_t>()).to_vector<int>());
  });
  where_memory_allows([] {
    const Tensor index = randint(0, columns, {rows}), y = one_hot(to(index, gpu), columns, DType::u8);
    EXPECT_EQ(sum(y).item<std::int64_t>(), rows);
    EXPECT_EQ(argmax(select(y, 0, rows - 1)).item<std::int64_t>(),
              select(index, 0, rows - 1).item<std::int64_t>());
  });
}

TEST_F(CudaLarge, MatrixProducts) {
  where_memory_allows([] {
    const Tensor a = randn({rows, 4}, DType::bf16, gpu), b = randn({4, columns}, DType::bf16, gpu);
    const Tensor y = matmul(a, b);
    const Tensor want = matmul(to(narrow(to(a, Device::cpu()), 0, rows - 1, 1), DType::f64),
                               to(to(b, Device::cpu()), DType::f64));
    const auto got = select(y, 0, rows - 1).to_vector<double>(), exact = want.to_vector<double>();
    for (std::size_t k = 0; k < got.size(); k += 4369)
      EXPECT_NEAR(got[k], exact[k], 0x1p-8 * std::abs(exact[k]) + 1e-3) << k;
    Tensor x = zeros({rows, columns}, DType::bf16, gpu);
    narrow(x, 0, rows - 1, 1).fill_(1);
    EXPECT_EQ(value(matmul(x, ones({columns, 1}, DType::bf16, gpu)), rows - 1), columns);
  });
}

// A counter that wraps would draw the beginning again.
TEST_F(CudaLarge, Draws) {
  where_memory_allows([] {
    const Tensor x = randint(0, 256, {n}, DType::u8, gpu);
    EXPECT_NE(narrow(x, 0, 0, 64).to_vector<int>(), narrow(x, 0, wrap, 64).to_vector<int>());
    EXPECT_NEAR(mean(to(narrow(x, 0, wrap, 65536), DType::f64)).item(), 127.5, 2);
  });
  where_memory_allows([] {
    const Tensor y = dropout(ones({n}, DType::bf16, gpu), 0.25);
    EXPECT_NE(narrow(y, 0, 0, 512).to_vector<double>(), narrow(y, 0, wrap, 512).to_vector<double>());
    EXPECT_NEAR(mean(to(narrow(y, 0, wrap, 65536), DType::f64)).item(), 1, 0.02);
  });
}

TEST_F(CudaLarge, AnOptimizersStep) {
  where_memory_allows([] {
    Tensor p = zeros({n}, DType::f32, gpu).set_requires_grad();
    p.set_grad(marked(DType::f32));
    optim::Sgd({p}, {.lr = 0.5}).step();
    expect_marks(p.detach(), [](double v) { return -0.5 * v; });
  });
}

}  // namespace
