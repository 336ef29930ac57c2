// Reductions on a GPU against the float64 CPU, on the same bits.
#include "tests/cuda/reduction_check.h"

using namespace bobbin;
using namespace bobbin::test;

namespace {

using CudaReduce = CudaReduction;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// Checks one operation on a view of x; of max and min also the index that they leave for the derivative.
void check(const Operation& op, const Tensor& x, const Axes& axes, bool keepdim = false,
           const View& view = as_it_is) {
  const Tensor there = view(to(x, gpu)), here = view(x), wide = widened(here);
  if (op.floating_only && !is_floating(x.dtype())) return;
  const std::string what = describe(op.name, here, axes);
  if (op.needs_elements && numel(here.shape()) == 0) {
    Tensor want;
    try {
      want = op.call(wide, axes, keepdim);
    } catch (const ShapeError&) {
      EXPECT_THROW(op.call(there, axes, keepdim), ShapeError) << what;
      return;
    }
  }
  const Tensor got = op.call(there, axes, keepdim), want = op.call(wide, axes, keepdim);
  const Tolerance& t = tolerance(op, x.dtype());
  double size = 0;
  if (t.cancelled > 0 && is_floating(x.dtype()) && want.numel() > 0)
    for (const double v : norm(wide, 1, axes).to_vector<double>())
      if (std::isfinite(v)) size = std::max(size, v);
  expect_close(got, want, t, size, what);
  if ((op.name == "max" || op.name == "min") && is_floating(x.dtype())) {
    const auto index = [&](const Tensor& leaf) {
      return op.call(leaf.detach().set_requires_grad(), axes, keepdim).node()->aux.at(0).tensor;
    };
    const Tensor got_index = index(there), want_index = index(wide);
    EXPECT_EQ(got_index.shape(), want_index.shape()) << what;
    EXPECT_EQ(got_index.to_vector<std::int64_t>(), want_index.to_vector<std::int64_t>()) << what;
  }
}

// Checks argmax and argmin along one axis or of the flattened tensor.
void check_arg(const Tensor& x, const Axes& axes, const View& view = as_it_is) {
  const Tensor there = view(to(x, gpu)), here = view(x);
  if (here.numel() == 0 || axes.size() > 1) return;
  for (const bool largest : {true, false}) {
    const auto call = [&](const Tensor& t) {
      if (axes.empty()) return largest ? argmax(t) : argmin(t);
      const int axis = static_cast<int>(axes[0]);
      return largest ? argmax(t, axis) : argmin(t, axis);
    };
    EXPECT_EQ(call(there).to_vector<std::int64_t>(), call(here).to_vector<std::int64_t>())
        << describe(largest ? "argmax" : "argmin", here, axes);
  }
}

void check_all(const Tensor& x, const Axes& axes, bool keepdim = false, const View& view = as_it_is) {
  for (auto& op : operations()) check(op, x, axes, keepdim, view);
  check_arg(x, axes, view);
}

std::vector<Axes> axis_sets(int rank) {
  std::vector<Axes> sets;
  for (int bits = 0; bits < 1 << rank; ++bits) {
    Axes axes;
    for (int i = 0; i < rank; ++i)
      if (bits >> i & 1) axes.push_back(i);
    sets.push_back(axes);
  }
  return sets;
}

TEST_F(CudaReduce, EveryShapeAndDtype) {
  for (const Shape& s : shapes)
    for (const DType t : every_dtype) {
      const Tensor x = draw(s, t);
      for (const Axes& axes : axis_sets(s.size())) check_all(x, axes);
    }
}

TEST_F(CudaReduce, EverySetOfAxes) {
  for (const DType t : every_dtype) {
    const Tensor x = draw({3, 5, 7, 11}, t), aligned = draw({4, 6, 8, 16}, t);
    for (const Axes& axes : axis_sets(4))
      for (const bool keepdim : {false, true}) {
        check_all(x, axes, keepdim);
        check_all(aligned, axes, keepdim);
      }
  }
}

TEST_F(CudaReduce, EveryLayout) {
  const std::vector<std::pair<const char*, View>> views{
      {"reversed",
       [](auto& x) {
         return permute(x, {3, 2, 1, 0});
       }},
      {"turned",
       [](auto& x) {
         return permute(x, {2, 0, 3, 1});
       }},
      {"with gaps", [](auto& x) { return slice(slice(x, 3, 1, 16, 2), 1, 1, 5); }},
      {"a piece", [](auto& x) { return narrow(narrow(x, 2, 1, 6), 3, 3, 9); }},
      {"repeated inside",
       [](auto& x) {
         return expand(narrow(x, 3, 5, 1), {4, 6, 8, 9});
       }},
      {"repeated outside",
       [](auto& x) {
         return expand(narrow(x, 0, 2, 1), {5, 6, 8, 16});
       }},
  };
  for (const DType t : every_dtype) {
    const Tensor x = draw({4, 6, 8, 16}, t);
    for (auto& [name, view] : views) {
      SCOPED_TRACE(name);
      for (const Axes& axes : axis_sets(4)) check_all(x, axes, false, view);
    }
  }
  for (const DType t : {DType::f32, DType::f64, DType::bf16, DType::i32}) {
    const Tensor wide = draw({300, 2, 500}, t);
    for (const Axes& axes : axis_sets(3)) {
      check_all(wide, axes, false, [](auto& x) { return permute(x, {2, 1, 0}); });
      check_all(wide, axes, false, [](auto& x) { return slice(x, 2, 3, 499, 2); });
      check_all(wide, axes, false, [](auto& x) { return narrow(x, 2, 5, 488); });
      check_all(wide, axes, false, [](auto& x) { return expand(narrow(x, 1, 0, 1), {300, 6, 500}); });
    }
  }
}

TEST_F(CudaReduce, RowsThatBeginAnywhere) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i32, DType::u8})
    for (const std::int64_t n : {3, 4, 31, 127, 128, 131, 1023, 5001, 70'001}) {
      const Tensor x = draw({9 + 3 * n}, t);
      for (std::int64_t offset = 0; offset < 9; ++offset)
        for (const char* name : {"sum", "var", "max"})
          check(operation(name), x, {1}, false, [&](auto& y) {
            return reshape(narrow(y, 0, offset, 3 * n), {3, n});
          });
    }
}

TEST_F(CudaReduce, EveryLengthOfRowsAndColumns) {
  for (std::int64_t n = 1; n < 300; n += n < 40 ? 1 : 23)
    for (const std::int64_t many : {1, 2, 17, 100, 5000}) {
      const Tensor x = draw({many, n}, DType::f32);
      for (const char* name : {"sum", "std", "max", "logsumexp"})
        for (const std::int64_t axis : {0, 1}) check(operation(name), x, {axis});
    }
}

TEST_F(CudaReduce, SpecialValuesWhereverTheyStand) {
  const double specials[] = {nan, inf, -inf, -0.0};
  for (const DType t : {DType::f64, DType::f32, DType::bf16, DType::f16})
    for (const Shape& s : {Shape{8, 5}, Shape{8, 130}, Shape{8, 3000}, Shape{8, 100'000}}) {
      Tensor x = to(randn(s, DType::f64), DType::f64);
      const std::int64_t n = s[1];
      for (std::int64_t row = 1; row < 8; ++row)
        for (int k = 0; k < 4; ++k)
          if (row >> k & 1)
            for (int copy = 0; copy < 2; ++copy)
              narrow(select(x, 0, row), 0, randint(0, n, {1}).item<std::int64_t>(), 1).fill_(specials[k]);
      select(x, 0, 0).fill_(-inf);
      x = to(x, t);
      check_all(x, {1});
      check_all(x, {0});
      check_all(x, {});
      check_all(x, {0}, false, [](auto& y) { return transpose(y); });
    }
}

TEST_F(CudaReduce, TheFirstOfTiesWins) {
  for (const DType t : {DType::f64, DType::f32, DType::f16, DType::i64, DType::u8})
    for (const Shape& s :
         {Shape{3, 40}, Shape{40, 3}, Shape{5, 4000}, Shape{4000, 5}, Shape{1, 200'000}, Shape{200'000, 1}}) {
      const Tensor few = to(randint(0, 3, s), t), none = zeros(s, t);
      for (const Axes& axes : axis_sets(2)) {
        check(operation("max"), few, axes);
        check(operation("min"), few, axes);
        check_arg(few, axes);
        check_arg(none, axes);
        check_arg(few, axes, [](auto& x) { return transpose(x); });
      }
    }
  for (const double lowest : {-inf, -9223372036854775808.0}) {
    const Tensor x = full({3, 5000}, lowest, std::isinf(lowest) ? DType::f32 : DType::i64, gpu);
    EXPECT_EQ(argmax(x).item<std::int64_t>(), 0);
    EXPECT_EQ(argmax(x, 1).to_vector<std::int64_t>(), (std::vector<std::int64_t>{0, 0, 0}));
  }
}

TEST_F(CudaReduce, SumsAreRoundedOnce) {
  for (const std::int64_t n : {1'000'000, 10'000'001}) {
    const Tensor x = uniform({n}, 0, 1);
    const double want = sum(to(x, DType::f64)).item();
    EXPECT_EQ(sum(to(x, gpu)).item<float>(), static_cast<float>(want));
    EXPECT_EQ(mean(to(x, gpu)).item<float>(), static_cast<float>(want / static_cast<double>(n)));
  }
  const Tensor far = randn({3, 100'000}) + 1e4;
  check(operation("var"), far, {1});
  check(operation("std"), far, {});
}

TEST_F(CudaReduce, IntegerSumsWrapOnlyAsAWhole) {
  const double big = 0x1p62;
  const Tensor x = tensor({big, big, -big, -big, big, 3}, DType::i64);
  EXPECT_EQ(sum(to(x, gpu)).item<std::int64_t>(), sum(x).item<std::int64_t>());
}

TEST_F(CudaReduce, TwoRunsAgreeToTheBitAndNothingWaits) {
  for (const Shape& s :
       {Shape{1'000'003}, Shape{4097, 333}, Shape{3, 70'000}, Shape{70'000, 3}, Shape{40, 50, 60}})
    for (const DType t : {DType::f64, DType::f32, DType::bf16}) {
      const Tensor x = to(draw(s, t), gpu);
      for (auto& op : operations())
        for (const Axes& axes : {Axes{}, Axes{0}, Axes{-1}}) {
          const std::int64_t before = synchronizations();
          const Tensor a = op.call(x, axes, false), b = op.call(x, axes, false);
          EXPECT_EQ(synchronizations(), before);
          const auto u = a.to_vector<double>(), v = b.to_vector<double>();
          EXPECT_TRUE(std::equal(u.begin(), u.end(), v.begin(), v.end(), [](double p, double q) {
            return p == q || (p != p && q != q);
          })) << describe(op.name, x, axes);
        }
    }
}

TEST_F(CudaReduce, ACapturedStepCombinesItsSegmentsEachTime) {
  Tensor x = zeros({1'000'003}, DType::f32, gpu), y = zeros({2}, DType::f32, gpu);
  Captured step = capture([&] {
    select(y, 0, 0).copy_(sum(x));
    select(y, 0, 1).copy_(max(cumsum(x, 0)));
  });
  for (int i = 1; i < 6; ++i) {
    x.fill_(i);
    step();
    EXPECT_EQ(y.to_vector<float>(), (std::vector<float>{1'000'003.f * i, 1'000'003.f * i}));
  }
}

// 2^31 + 65536 elements: positions past 32 bits, in a contiguous tensor and in a view that is not contiguous.
TEST_F(CudaReduce, PastTwoToThe31) {
  poison_allocations(false);
  try {
    const std::int64_t rows = 65'538, columns = 32'768;
    Tensor x = zeros({rows, columns}, DType::u8, gpu);
    const auto put = [&](std::int64_t i, std::int64_t j, double v) {
      narrow(select(x, 0, i), 0, j, 1).fill_(v);
    };
    put(3, 1, 5);
    put(rows - 1, columns - 2, 7);
    put(rows - 1, columns - 1, 7);
    EXPECT_EQ(sum(x).item<std::int64_t>(), 19);
    EXPECT_EQ(argmax(x).item<std::int64_t>(), rows * columns - 2);
    EXPECT_EQ(sum(sum(x, {0})).item<std::int64_t>(), 19);
    EXPECT_EQ(sum(sum(x, {1})).item<std::int64_t>(), 19);
    EXPECT_EQ(argmax(x, 0).at({columns - 1}), static_cast<double>(rows - 1));
    const Tensor piece = narrow(x, 1, 1, columns - 1),
                 repeated = expand(unsqueeze(piece, 1), {rows, 3, columns - 1});
    EXPECT_EQ(sum(piece).item<std::int64_t>(), 19);
    EXPECT_EQ(argmax(piece).item<std::int64_t>(), rows * (columns - 1) - 2);
    EXPECT_EQ(argmax(transpose(piece)).item<std::int64_t>(), (columns - 2) * rows - 1);
    EXPECT_EQ(sum(repeated).item<std::int64_t>(), 3 * 19);
    EXPECT_EQ(argmax(repeated).item<std::int64_t>(), ((rows - 1) * 3 + 1) * (columns - 1) - 2);
  } catch (const OutOfMemory& e) {
    GTEST_SKIP() << e.what();
  }
}

}  // namespace
