// Tests the softmax family on a GPU against float64 results of the CPU for the same input bits: every row
// length, layout and algorithm.
#include <bobbin/bobbin.h>
#include <bobbin/capture.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <sstream>

#include "ops/cuda/rows/algorithm.h"
#include "tests/cuda/cuda_fixture.h"

using namespace bobbin;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity(),
                 nan = std::numeric_limits<double>::quiet_NaN();

class CudaSoftmax : public SeededCuda<5> {
  void TearDown() override {
    SeededCuda::TearDown();
    cuda::row_tuning() = {};
  }
};

// The distance between neighbouring numbers of a dtype at v.
double ulp(DType t, double v) {
  const int digits = t == DType::f64 ? 52 : t == DType::f32 ? 23 : t == DType::bf16 ? 7 : 10;
  const int lowest = t == DType::f64 ? -1022 : t == DType::f16 ? -14 : -126;
  return std::ldexp(1.0, std::max(v == 0 ? lowest : std::ilogb(v), lowest) - digits);
}

// Compares with an exact result. The error of 16-bit types may be 1 ULP, of f32 8 ULP, and f32 results under
// 2^-126 may be 0. `slack`, if given, is the error that rounding of long sums may add to each element.
void expect_close(const Tensor& got, const Tensor& exact, const Tensor& slack, const std::string& what) {
  ASSERT_EQ(got.shape(), exact.shape()) << what;
  const auto y = got.to_vector<double>(), e = to(to(exact, got.dtype()), DType::f64).to_vector<double>(),
             x = exact.to_vector<double>();
  const DType t = got.dtype();
  const double places = t == DType::f64 ? 64 : t == DType::f32 ? 8 : 1, lost = t == DType::f64 ? 0 : 0x1p-126;
  const auto s = slack ? slack.to_vector<double>() : std::vector<double>(y.size());
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (y[i] == e[i] || (std::isnan(y[i]) && std::isnan(e[i]))) continue;
    if (!(std::abs(y[i] - x[i]) <= 1.001 * places * ulp(t, x[i]) + lost + s[i])) {
      ADD_FAILURE() << what << ": element " << i << " is " << y[i] << ", exactly " << x[i] << "; off by "
                    << std::abs(y[i] - x[i]) / ulp(t, x[i]) << " ULP";
      return;
    }
  }
}

bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = to(a, Device::cpu()), y = to(b, Device::cpu());
  return std::memcmp(x.raw(), y.raw(), static_cast<std::size_t>(x.numel() * size_of(x.dtype()))) == 0;
}

bool all_finite(const Tensor& t) {
  const auto v = t.to_vector<float>();
  return std::all_of(v.begin(), v.end(), [](float x) { return std::isfinite(x); });
}

// Some slices along another axis of a tensor that is too large to compute again in double.
Tensor sampled(const Tensor& x, int axis) {
  constexpr std::int64_t most = 1 << 18;
  const int across = axis == 0 ? x.rank() - 1 : 0;
  if (x.numel() <= most || across == axis || x.size(across) < 3) return x;
  const std::int64_t n = x.size(across);
  const std::int64_t inside = std::clamp<std::int64_t>(most / (x.numel() / n) - 2, 0, n - 2);
  return concat(
      {narrow(x, across, 0, 1), narrow(x, across, (n - inside) / 2, inside), narrow(x, across, n - 1, 1)},
      across);
}

using View = std::function<Tensor(const Tensor&)>;

// Checks all four operations on view(base) and its copy on the GPU. `ordinary`: expects finite results.
void check(const Tensor& base, const View& view, int axis, const std::string& note, bool ordinary = true) {
  const Tensor x = view(base), on = view(to(base, gpu));
  const DType t = x.dtype();
  std::ostringstream what;
  what << note << " " << x.spec() << " axis " << axis;
  const auto run = [&](const std::string& op, const Tensor& exact, const Tensor& slack, auto&& f) {
    const Tensor y = f(), again = f();
    EXPECT_TRUE(same_bits(y, again)) << op << ", twice: " << what.str();
    EXPECT_TRUE(!ordinary || all_finite(y)) << op << ": " << what.str();
    expect_close(to(sampled(y, axis), Device::cpu()), exact, slack, op + ": " + what.str());
  };
  const auto exactly = [&](const Tensor& v) { return to(contiguous(sampled(view(v), axis)), DType::f64); };
  const Tensor x64 = exactly(base);
  run("softmax", softmax(x64, axis), {}, [&] { return softmax(on, axis); });
  run("log_softmax", log_softmax(x64, axis), {}, [&] { return log_softmax(on, axis); });
  if (!ordinary) return;

  // The backward operations take any O and dO.
  const Tensor base_o = base * 0.01, base_g = base * -0.5;
  const Tensor o = view(to(base_o, gpu)), g = view(to(base_g, gpu)), o64 = exactly(base_o),
               g64 = exactly(base_g);
  const double rounding = t == DType::f64 ? 0x1p-46 : 0x1p-20;
  const Axes along = x.rank() ? Axes{axis} : Axes{};
  run("softmax_backward", softmax_backward(o64, g64, axis),
      abs(o64) * (abs(g64) + sum(abs(o64 * g64), along, true)) * rounding,
      [&] { return softmax_backward(o, g, axis); });
  run("log_softmax_backward", log_softmax_backward(o64, g64, axis),
      (abs(g64) + exp(o64) * sum(abs(g64), along, true)) * rounding,
      [&] { return log_softmax_backward(o, g, axis); });
}

Tensor as_is(const Tensor& x) { return x; }
Tensor draw(const Shape& shape, DType t, double scale) { return to(randn(shape) * scale, t); }

// Checks the derivatives of n rows of d elements along `axis`; in every second row one element dominates.
void check_dominated(DType t, std::int64_t n, std::int64_t d, int axis, const std::string& note) {
  Tensor logits = randn({n, d}, DType::f64);
  for (std::int64_t r = 0; r < n; r += 2)
    narrow(narrow(logits, 0, r, 1), 1, r * 7 % d, 1).fill_(12 + std::log(static_cast<double>(d)));
  const auto layout = [&](const Tensor& x) { return axis == 1 ? x : contiguous(transpose(x)); };
  const Tensor g = to(layout(draw({n, d}, DType::f64, 1)), t), g64 = to(g, DType::f64);
  const Axes along{axis};
  const double rounding = t == DType::f64 ? 0x1p-46 : 0x1p-20;
  const std::string what = note + " " + std::string(name(t)) + " " + std::to_string(n) + " x " +
                           std::to_string(d) + " along " + std::to_string(axis);
  const auto run = [&](const std::string& op, auto&& backward, const Tensor& o, const Tensor& slack) {
    const Tensor on = to(o, gpu), to_gpu = to(g, gpu), y = backward(on, to_gpu, axis);
    EXPECT_TRUE(same_bits(y, backward(on, to_gpu, axis))) << op << ", twice: " << what;
    expect_close(to(y, Device::cpu()), backward(to(o, DType::f64), g64, axis), slack * rounding,
                 op + " with a dominant element: " + what);
  };
  const Tensor none = zeros({}, DType::f64);
  {
    const Tensor o = to(layout(softmax(logits, 1)), t), p = to(o, DType::f64);
    const Tensor dominant = gt(p, full({}, 0.75, DType::f64));
    const Tensor off = abs(g64 - sum(where(dominant, g64, none), along, true));
    run(
        "softmax_backward", [](auto&&... a) { return softmax_backward(a...); }, o,
        p * (off + sum(where(dominant, none, p * off), along, true)));
  }
  const Tensor o = to(layout(log_softmax(logits, 1)), t), l = to(o, DType::f64);
  const Tensor dominant = gt(l, full({}, std::log(0.75), DType::f64));
  const Tensor others = sum(where(dominant, none, abs(g64)), along, true);
  run(
      "log_softmax_backward", [](auto&&... a) { return log_softmax_backward(a...); }, o,
      where(dominant, abs(expm1(l) * g64) + exp(l) * others, abs(g64) + exp(l) * sum(abs(g64), along, true)));
}

constexpr std::int64_t lengths[] = {1,     2,     3,      7,      31,     33,    127,  257,
                                    781,   1000,  1023,   1025,   4097,   5000,  8193, 12345,
                                    32769, 50257, 128256, 151936, 262144, 262147};

void check_lengths(DType t, std::initializer_list<std::int64_t> counts) {
  for (const std::int64_t n : counts)
    for (const std::int64_t d : lengths)
      if (n * d <= 1 << 24) check(draw({n, d}, t, 3), as_is, 1, "");
}
TEST_F(CudaSoftmax, EveryLengthF32) { check_lengths(DType::f32, {1, 2, 17, 133, 1000}); }
TEST_F(CudaSoftmax, EveryLengthBF16) { check_lengths(DType::bf16, {1, 2, 17, 133, 1000}); }
TEST_F(CudaSoftmax, EveryLengthF16) { check_lengths(DType::f16, {1, 17, 133}); }
TEST_F(CudaSoftmax, EveryLengthF64) { check_lengths(DType::f64, {1, 17}); }

TEST_F(CudaSoftmax, AnyLayoutOfRows) {
  for (const DType t : {DType::f32, DType::bf16, DType::f16, DType::f64})
    for (const std::int64_t d : {3, 16, 100, 257, 1000, 1024, 4100, 20000}) {
      for (const std::int64_t from : {0, 1, 8}) {
        const View part = [=](const Tensor& x) { return narrow(x, 1, from, d); };
        check(draw({7, d + 24}, t, 3), part, 1, "rows at a pitch, from " + std::to_string(from));
      }
      const Shape seven{7, d}, five{5, d};
      const View shifted = [=](const Tensor& x) { return reshape(narrow(x, 0, 1, 7 * d), seven); };
      const View turned = [](const Tensor& x) { return movedim(x, 0, 1); };
      const View repeated = [=](const Tensor& x) { return expand(x, five); };
      const View middle = [](const Tensor& x) { return narrow(x, 1, 1, 2); };
      check(draw({7 * d + 3}, t, 3), shifted, 1, "misaligned");
      check(draw({d, 7}, t, 3), turned, 1, "transposed");
      check(draw({1, d}, t, 3), repeated, 1, "one row, repeated");
      check(draw({3, 4, d}, t, 3), middle, 2, "rows of 3-D parts");
    }
}

TEST_F(CudaSoftmax, AnyAxis) {
  for (const DType t : {DType::f32, DType::bf16, DType::f16, DType::f64})
    for (const std::int64_t d : {2, 3, 10, 64, 100, 700, 3000})
      for (const std::int64_t inner : {2, 3, 8, 49, 64, 200})
        for (const std::int64_t outer : {1, 3}) check(draw({outer, d, inner}, t, 3), as_is, 1, "");
  // Too many columns for the shared memory of the blocks of few rows.
  for (const DType t : {DType::f32, DType::bf16, DType::f64})
    for (const std::int64_t inner : {3, 16}) {
      check(draw({2, 60000, inner}, t, 3), as_is, 1, "parts");
      check_dominated(t, inner, 60000, 0, "parts");
    }
  check(draw({300, 20, 30}, DType::f32, 3), as_is, 0, "");
  check(draw({30, 20, 300}, DType::bf16, 3), as_is, 2, "");
  check(draw({}, DType::f32, 3), as_is, 0, "");
}

// Algorithms that the shape alone would not choose, on this GPU or at this size.
TEST_F(CudaSoftmax, EveryAlgorithm) {
  using cuda::Scope, cuda::Algorithm;
  const auto lengths_by = [](const std::string& note) {
    for (const DType t : {DType::f32, DType::bf16, DType::f64})
      for (const std::int64_t n : {1, 3, 300})
        for (const std::int64_t d : {5, 257, 1024, 2051, 20001}) {
          check(draw({n, d}, t, 3), as_is, 1, note);
          if (n < 300) check_dominated(t, n, d, 1, note);
        }
  };
  const auto force = [](Algorithm algorithm, std::optional<Scope> scope = {}, int blocks = 0) {
    cuda::RowTuning t;
    t.algorithm = algorithm;
    t.scope = scope;
    t.blocks = blocks;
    cuda::row_tuning() = t;
  };
  for (const int packs : {4, 8, 16}) {
    force(Algorithm::block, Scope::block);
    cuda::row_tuning().packs = packs;
    lengths_by("block of " + std::to_string(packs) + " packs a thread");
  }
  for (const int blocks : {2, 4, 8, 16}) {
    force(Algorithm::block, Scope::cluster, blocks);
    lengths_by("cluster of " + std::to_string(blocks));
  }
  for (const int blocks : {2, 16, 64}) {
    force(Algorithm::block, Scope::grid, blocks);
    lengths_by("grid, " + std::to_string(blocks) + " blocks a row");
  }
  force(Algorithm::two_pass);
  lengths_by("chunks");
  force(Algorithm::strided);
  for (const DType t : {DType::f32, DType::bf16, DType::f64})
    for (const std::int64_t inner : {3, 16}) {
      check(draw({2, 40, inner}, t, 3), as_is, 1, "columns");
      check_dominated(t, inner, 40, 0, "columns");
    }
}

TEST_F(CudaSoftmax, DominatedRowsOfEveryLength) {
  for (const DType t : {DType::f32, DType::bf16, DType::f16, DType::f64})
    for (const std::int64_t d : {2, 3, 16, 33, 64, 129, 500, 781, 1024, 3001, 40000})
      for (const std::int64_t n : {3, 2000})
        if (n * d <= 1 << 22) check_dominated(t, n, d, 1, "");
}

// Blocks that exchange through global memory must not read values of an earlier launch.
TEST_F(CudaSoftmax, FewLongRowsAgainAndAgain) {
  std::vector<Tensor> inputs, expected;
  for (const std::int64_t n : {1, 2, 3})
    for (const std::int64_t d : {70000, 262147}) {
      inputs.push_back(to(draw({n, d}, DType::f32, 3), gpu));
      expected.push_back(softmax(inputs.back()));
    }
  for (int i = 0; i < 300; ++i) {
    const auto k = static_cast<std::size_t>(i) % inputs.size();
    const Tensor y = softmax(inputs[k]);
    ASSERT_TRUE(i % 50 >= 6 || same_bits(y, expected[k])) << i;
  }
  for (std::size_t k = 0; k < inputs.size(); ++k) EXPECT_TRUE(same_bits(softmax(inputs[k]), expected[k]));
}

TEST_F(CudaSoftmax, FewLongRowsInACapturedStep) {
  Tensor x = to(draw({2, 262147}, DType::f32, 3), gpu), y;
  auto step = capture([&] { y = softmax(softmax(x) * 1000); });
  step();
  const Tensor expected = to(y, Device::cpu());
  for (int i = 0; i < 5; ++i) {
    step();
    softmax(x);  // outside the graph
    EXPECT_TRUE(same_bits(y, expected)) << i;
  }
}

// Rows of d elements with parts of -infinity, with infinities and with NaN; the softmax of some is NaN.
Tensor masked_rows(DType t, std::int64_t d) {
  std::vector<Tensor> rows;
  const auto add = [&](const Tensor& x, std::int64_t from, std::int64_t n, double value) {
    Tensor row = to(x, t);
    if (n > 0) narrow(row, 0, from, n).fill_(value);
    rows.push_back(row);
  };
  for (const std::int64_t masked : {std::int64_t{1}, std::int64_t{15}, std::int64_t{511}, d / 2, d - 1, d}) {
    const std::int64_t k = std::min(masked, d);
    add(randn({d}), 0, k, -inf);
    add(randn({d}), d - k, k, -inf);
  }
  add(randn({d}), d / 2, 1, inf);
  add(randn({d}), d - 1, 1, nan);
  add(full({d}, -inf), d / 3, 1, nan);
  add(full({d}, -inf), d / 3, 1, inf);
  add(full({d}, -inf), d / 3, 1, -3);
  add(full({d}, nan), 0, 0, 0);
  add(zeros({d}), 0, 0, 0);
  return stack(rows, 0);
}

TEST_F(CudaSoftmax, MasksAndSlicesWithoutAnAnswer) {
  for (const DType t : {DType::f32, DType::bf16, DType::f16, DType::f64})
    for (const std::int64_t d : {2, 5, 33, 64, 513, 1000, 3000, 40000, 270000}) {
      const Tensor x = masked_rows(t, d);
      check(x, as_is, 1, "masks", false);
      if (d <= 3000) check(contiguous(movedim(x, 0, 1)), as_is, 0, "masks", false);
    }
}

// Enough rows that each warp copies several rows together through shared memory; the last warp has fewer.
TEST_F(CudaSoftmax, ManyShortRows) {
  for (const DType t : {DType::f32, DType::bf16, DType::f16, DType::f64})
    for (const std::int64_t d : {2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64, 72, 96, 112, 128, 256, 1000}) {
      check(draw({3001, d}, t, 3), as_is, 1, "");
      check(
          draw({3001, d + 24}, t, 3), [=](const Tensor& x) { return narrow(x, 1, 8, d); }, 1, "at a pitch");
      const Tensor rows = masked_rows(t, d);
      check(reshape(expand(rows, {170, rows.size(0), d}), {-1, d}), as_is, 1, "masks", false);
    }
}

TEST_F(CudaSoftmax, LargeLogits) {
  for (const DType t : {DType::f32, DType::bf16, DType::f16})
    for (const double scale : {30.0, 1e4})
      for (const std::int64_t d : {10, 33, 1000, 5000, 100000}) {
        check(draw({9, d}, t, scale), as_is, 1, "scale " + std::to_string(scale), false);
        if (d <= 5000) check(draw({d, 9}, t, scale), as_is, 0, "scale " + std::to_string(scale), false);
      }
}

TEST_F(CudaSoftmax, LogKeepsTheDigitsOfResultsNearZero) {
  EXPECT_NEAR(log_softmax(to(tensor({17.5, 0}), gpu)).at({0}), -2.511e-8, 1e-11);
  EXPECT_FLOAT_EQ(static_cast<float>(log_softmax(to(tensor({1e8, 1e8}), gpu)).at({0})), -0.6931472f);
  for (const std::int64_t d : {5, 600, 5000, 300000}) {
    Tensor x = full({2, d}, 0);
    narrow(narrow(x, 0, 0, 1), 1, d / 2, 1).fill_(35.0);
    check(x, as_is, 1, "one element far above", false);
  }
}

TEST_F(CudaSoftmax, OneClassIsOneWithoutGradient) {
  for (const DType t : {DType::f32, DType::bf16, DType::f16, DType::f64})
    for (const int axis : {0, 1}) {
      const Tensor x = to(draw(axis ? Shape{500, 1} : Shape{1, 500}, t, 1e4), gpu);
      const Tensor o = softmax(x, axis), l = log_softmax(x, axis), g = to(rand(x.shape(), t), gpu);
      for (const double v : o.to_vector<double>()) EXPECT_EQ(v, 1);
      for (const double v : l.to_vector<double>()) EXPECT_EQ(v, 0);
      for (const double v : softmax_backward(o, g, axis).to_vector<double>()) EXPECT_EQ(v, 0);
      for (const double v : log_softmax_backward(l, g, axis).to_vector<double>()) EXPECT_EQ(v, 0);
    }
}

TEST_F(CudaSoftmax, EmptySlicesGiveAnEmptyResult) {
  for (const Shape& shape : {Shape{4, 0}, Shape{0, 4}, Shape{0}, Shape{3, 0, 5}})
    for (int axis = 0; axis < shape.size(); ++axis) {
      const Tensor x = zeros(shape, DType::f32, gpu);
      EXPECT_EQ(softmax(x, axis).shape(), shape);
      EXPECT_EQ(log_softmax_backward(x, x, axis).shape(), shape);
    }
}

// Element indices past 2^31, in many rows and in one row.
TEST_F(CudaSoftmax, TensorsPastTwoToThe31) try {
  constexpr std::int64_t d = 4096, n = ((std::int64_t{1} << 31) + 65536) / d;
  {
    const Tensor last = draw({3, d}, DType::bf16, 3);
    Tensor x = zeros({n, d}, DType::bf16, gpu);
    narrow(x, 0, n - 3, 3).copy_(last);
    const Tensor y = softmax(x);
    expect_close(to(contiguous(narrow(y, 0, n - 3, 3)), Device::cpu()), softmax(to(last, DType::f64)), {},
                 "the last rows");
    EXPECT_EQ(y.at({n / 2, 7}), 1.0 / d);
  }
  Tensor x = zeros({n * d}, DType::bf16, gpu);
  narrow(x, 0, n * d - 1, 1).fill_(30);
  const Tensor y = softmax(x);
  const double last = 1 / (1 + std::exp(-30.0) * static_cast<double>(n * d - 1));
  EXPECT_NEAR(y.at({n * d - 1}), last, last * 0x1p-8);
  for (const std::int64_t i : {std::int64_t{0}, n * d / 2, n * d - 2})
    EXPECT_NEAR(y.at({i}), last * std::exp(-30.0), last * std::exp(-30.0) * 0x1p-8);
} catch (const OutOfMemory& e) {
  GTEST_SKIP() << e.what();
}

}  // namespace
