// Indices outside their axis on a GPU: the errors are those of the CPU.
#include "tests/cuda/index_check.h"

using namespace bobbin;
using namespace bobbin::test;

namespace {

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

}  // namespace
