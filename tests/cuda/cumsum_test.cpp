// cumsum on a GPU against the float64 CPU, on the same bits.
#include "tests/cuda/reduction_check.h"

using namespace bobbin;
using namespace bobbin::test;

namespace {

using CudaCumSum = CudaReduction;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

void check_cumsum(const Tensor& x, int axis, const View& view = as_it_is) {
  for (const bool reverse : {false, true}) {
    const Tensor wide = widened(view(x));
    const Tensor got = cumsum(view(to(x, gpu)), axis, reverse), want = cumsum(wide, axis, reverse);
    double size = 0;
    if (is_floating(x.dtype()) && want.numel() > 0)
      for (const double v : norm(wide, 1, {axis}).to_vector<double>())
        if (std::isfinite(v)) size = std::max(size, v);
    expect_close(got, want, {0, 0, 0x1p-45}, size,
                 describe(reverse ? "cumsum from the end" : "cumsum", wide, {axis}));
  }
}

TEST_F(CudaCumSum, RunningSums) {
  for (const DType t : every_dtype) {
    if (t == DType::boolean) continue;
    for (const Shape& s : shapes) {
      const Tensor x = draw(s, t);
      for (int axis = 0; axis < s.size(); ++axis) check_cumsum(x, axis);
    }
    const Tensor x = draw({3, 5, 7, 11}, t);
    for (int axis = 0; axis < 4; ++axis) {
      check_cumsum(x, axis);
      check_cumsum(x, axis, [](auto& y) { return permute(y, {2, 0, 3, 1}); });
      check_cumsum(x, axis, [](auto& y) { return slice(y, 3, 2, 11, 3); });
      check_cumsum(x, axis, [](auto& y) { return expand(narrow(y, 1, 1, 1), {3, 4, 7, 11}); });
    }
  }
  for (const std::int64_t n : {31, 32, 33, 127, 128, 129, 511, 512, 513, 1023, 1025, 4095, 8193, 16'385})
    for (const std::int64_t many : {1, 5, 600}) {
      check_cumsum(draw({many, n}, DType::f32), 1);
      check_cumsum(draw({n, many}, DType::f32), 0);
    }
}

TEST_F(CudaCumSum, RunningSumsOfSpecialValues) {
  for (const Shape& s : {Shape{6, 9}, Shape{6, 700}, Shape{6, 100'000}}) {
    Tensor x = randn(s);
    const double specials[] = {nan, inf, -inf};
    for (std::int64_t row = 0; row < 6; ++row)
      for (int k = 0; k < 2; ++k)
        narrow(select(x, 0, row), 0, randint(0, s[1], {1}).item<std::int64_t>(), 1)
            .fill_(specials[(row + k) % 3]);
    check_cumsum(x, 1);
    check_cumsum(contiguous(transpose(x)), 0);
  }
}

TEST_F(CudaCumSum, RunningSumsAgreeToTheBit) {
  for (const Shape& s : {Shape{10'000'001}, Shape{500, 600}, Shape{1'000'000, 3}}) {
    const Tensor x = to(randn(s), gpu);
    EXPECT_EQ(cumsum(x, 0).to_vector<float>(), cumsum(x, 0).to_vector<float>());
  }
}

TEST_F(CudaCumSum, RunningSumsPastTwoToThe31) {
  poison_allocations(false);
  try {
    const std::int64_t n = (std::int64_t{1} << 31) + 65'536;
    Tensor x = zeros({n}, DType::f16, gpu);
    for (const std::int64_t i : {std::int64_t{9}, n / 2, n - 3}) narrow(x, 0, i, 1).fill_(1);
    const Tensor y = cumsum(x, 0);
    EXPECT_EQ(y.at({8}), 0);
    EXPECT_EQ(y.at({9}), 1);
    EXPECT_EQ(y.at({n / 2 - 1}), 1);
    EXPECT_EQ(y.at({n / 2}), 2);
    EXPECT_EQ(y.at({n - 4}), 2);
    EXPECT_EQ(y.at({n - 3}), 3);
    EXPECT_EQ(y.at({n - 1}), 3);
    EXPECT_EQ(sum(y).item(), inf) << "f16 holds no such number";
  } catch (const OutOfMemory& e) {
    GTEST_SKIP() << e.what();
  }
}

}  // namespace
