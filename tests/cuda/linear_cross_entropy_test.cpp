// Tests linear_cross_entropy on a GPU against linear and cross_entropy in float64 on the CPU: losses,
// gradients, the same bits in each run, reported faults and memory.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/cuda/cuda_fixture.h"

using namespace bobbin;

namespace {

using CudaLinearCrossEntropy = SeededCuda<17>;

Tensor on_gpu(const Tensor& x) { return x ? to(x.detach(), gpu) : x; }
Tensor exact(const Tensor& x) {
  return x && is_floating(x.dtype()) ? to(to(x.detach(), Device::cpu()), DType::f64) : x;
}

struct Case {
  std::int64_t rows, in, classes;
  DType dtype = DType::f32;
  CrossEntropyOptions options = {};
  std::int64_t block = 0;
  bool weighted = false, probabilities = false;
  double cotangent = 1;
};

std::string name(const Case& c) {
  std::ostringstream s;
  s << TensorSpec{{c.rows, c.in, c.classes}, c.dtype, gpu} << " reduction "
    << static_cast<int>(c.options.reduction) << (c.weighted ? " weighted" : "")
    << (c.probabilities ? " probabilities" : "") << " smoothing " << c.options.label_smoothing
    << " blocks of " << c.block << " cotangent " << c.cotangent;
  return s.str();
}

// The error relative to the largest element. Products of 16-bit factors round the gradient of the logits.
void expect_close(const Tensor& got, const Tensor& want, double relative, const std::string& what) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  const auto g = got.to_vector<double>(), w = want.to_vector<double>();
  double size = 0;
  for (const double v : w) size = std::max(size, std::abs(v));
  for (std::size_t i = 0; i < g.size(); ++i)
    ASSERT_TRUE(std::abs(g[i] - w[i]) <= relative * size)
        << what << ": element " << i << " is " << g[i] << ", not " << w[i];
}

void check(const Case& c) {
  const Tensor x = to(randn({c.rows, c.in}, DType::f64), c.dtype),
               w = to(randn({c.classes, c.in}, DType::f64) / std::sqrt(static_cast<double>(c.in)) * 2,
                      c.dtype);
  Tensor t = randint(0, c.classes, {c.rows});
  if (c.rows > 3) t.mutable_data<std::int64_t>()[2] = -100;
  if (c.probabilities) t = to(softmax(randn({c.rows, c.classes}, DType::f64), 1), c.dtype);
  CrossEntropyOptions here = c.options, there = c.options;
  if (c.weighted) {
    const Tensor weight = to(uniform({c.classes}, .5, 2, DType::f64), c.dtype);
    here.weight = on_gpu(weight);
    there.weight = exact(weight);
  }
  const Tensor a = on_gpu(x).set_requires_grad(), b = on_gpu(w).set_requires_grad(),
               ra = exact(x).set_requires_grad(), rb = exact(w).set_requires_grad();
  const Tensor loss = linear_cross_entropy(a, b, on_gpu(t), here, {.rows = c.block});
  const Tensor want = cross_entropy(linear(ra, rb), exact(t), there);
  const double unit = c.dtype == DType::f64    ? 0x1p-45
                      : c.dtype == DType::f32  ? 0x1p-17
                      : c.dtype == DType::bf16 ? 0x1p-8
                                               : 0x1p-11;
  ASSERT_EQ(loss.dtype(), c.dtype);
  expect_close(loss, want, unit, name(c) + ", loss");
  expect_close(linear_cross_entropy(a.detach(), b.detach(), on_gpu(t), here), want, unit,
               name(c) + ", loss alone");
  const auto cotangent = [&](const Tensor& y) {
    return c.cotangent == 1 && y.numel() == 1 ? Tensor() : full_like(y.detach(), c.cotangent);
  };
  const auto got = grad(loss, {a, b}, cotangent(loss)), right = grad(want, {ra, rb}, cotangent(want));
  for (std::size_t i = 0; i < 2; ++i)
    expect_close(got[i], right[i], 2 * unit,
                 name(c) + (i == 0 ? ", gradient of x" : ", gradient of the weight"));
}

TEST_F(CudaLinearCrossEntropy, EveryNumberOfClasses) {
  for (const DType t : {DType::f32, DType::bf16})
    for (const std::int64_t classes : {1, 2, 7, 64, 65, 255, 1001, 8200, 32768, 50257})
      for (const std::int64_t rows : {1, 5, 64}) check({rows, 40, classes, t, {}, 48});
}

TEST_F(CudaLinearCrossEntropy, EveryDtypeReductionAndBlock) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16, DType::f16})
    for (const Reduction r : {Reduction::mean, Reduction::sum, Reduction::none})
      for (const std::int64_t block : {0, 1, 33, 100})
        for (const double cotangent : {1., 3.})
          check({100, 17, 333, t, {.reduction = r}, block, false, false, cotangent});
}

TEST_F(CudaLinearCrossEntropy, EveryKindOfTarget) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16})
    for (const Reduction r : {Reduction::mean, Reduction::none})
      for (const std::int64_t classes : {3, 1001, 9001})
        for (const bool weighted : {false, true})
          for (const double smoothing : {0., .1})
            for (const bool probabilities : {false, true})
              check({9,
                     24,
                     classes,
                     t,
                     {.label_smoothing = smoothing, .reduction = r},
                     4,
                     weighted,
                     probabilities});
}

TEST_F(CudaLinearCrossEntropy, LargeRows) {
  check({70, 64, 128256, DType::bf16});
  check({70, 64, 128256, DType::f32});
  check({300, 1, 5, DType::bf16});
  check({2000, 256, 3000, DType::bf16, {}, 512});
}

TEST_F(CudaLinearCrossEntropy, Empty) {
  const Tensor w = on_gpu(randn({3, 2})).set_requires_grad(), x = empty({0, 2}, DType::f32, gpu),
               t = empty({0}, DType::i64, gpu);
  EXPECT_TRUE(std::isnan(linear_cross_entropy(x, w, t).item()));
  const Tensor loss = linear_cross_entropy(x, w, t, {.reduction = Reduction::sum});
  EXPECT_EQ(loss.item(), 0);
  for (const double v : grad(loss, {w})[0].to_vector<double>()) EXPECT_EQ(v, 0);
  EXPECT_NEAR(linear_cross_entropy(empty({2, 0}, DType::f32, gpu), empty({3, 0}, DType::f32, gpu),
                                   zeros({2}, DType::i64, gpu))
                  .item(),
              std::log(3), 1e-6);
}

TEST_F(CudaLinearCrossEntropy, GivesTheSameBitsInEachRun) {
  const Tensor x = on_gpu(to(randn({500, 128}), DType::bf16)).set_requires_grad(),
               w = on_gpu(to(randn({5003, 128}), DType::bf16)).set_requires_grad(),
               t = on_gpu(randint(0, 5003, {500}));
  std::vector<std::vector<double>> first;
  for (int run = 0; run < 20; ++run) {
    const Tensor loss = linear_cross_entropy(x, w, t, {}, {.rows = 128});
    std::vector<std::vector<double>> now{loss.to_vector<double>()};
    for (const Tensor& g : grad(loss, {x, w})) now.push_back(g.to_vector<double>());
    if (first.empty()) first = now;
    ASSERT_EQ(now, first) << "run " << run;
  }
}

TEST_F(CudaLinearCrossEntropy, CapturedStepsGiveTheBitsOfEagerOnes) {
  const Tensor x = on_gpu(randn({64, 32})), w = on_gpu(randn({100, 32})).set_requires_grad(),
               t = on_gpu(randint(0, 100, {64}));
  const Tensor kept = empty({100, 32}, DType::f32, gpu), loss = empty({}, DType::f32, gpu);
  const auto step = [&] {
    const Tensor y = linear_cross_entropy(x, w, t, {}, {.rows = 24});
    Tensor(kept).copy_(grad(y, {w})[0]);
    Tensor(loss).copy_(y.detach());
  };
  step();
  const auto want = kept.to_vector<float>(), value = loss.to_vector<float>();
  Captured captured = capture(step);
  for (int i = 0; i < 4; ++i) captured();
  EXPECT_EQ(kept.to_vector<float>(), want);
  EXPECT_EQ(loss.to_vector<float>(), value);
}

TEST_F(CudaLinearCrossEntropy, SecondDerivatives) {
  const Tensor x = randn({6, 5}, DType::f64), w = randn({9, 5}, DType::f64), t = randint(0, 9, {6}),
               v = randn({9, 5}, DType::f64);
  const auto second = [&](const Tensor& a, const Tensor& b, const Tensor& target, const Tensor& along) {
    const Tensor loss = linear_cross_entropy(a, b, target);
    const Tensor slope = sum(grad(loss, std::array{b}, {}, CreateGraph::yes)[0] * along);
    return grad(slope, {a, b});
  };
  const auto got = second(on_gpu(x).set_requires_grad(), on_gpu(w).set_requires_grad(), on_gpu(t), on_gpu(v)),
             want = second(x.detach().set_requires_grad(), w.detach().set_requires_grad(), t, v);
  for (std::size_t i = 0; i < 2; ++i) expect_close(got[i], want[i], 1e-12, "second derivative");
}

TEST_F(CudaLinearCrossEntropy, ReportsAClassOutOfRange) {
  const Tensor x = on_gpu(randn({100, 4})), w = on_gpu(randn({7, 4}));
  Tensor t = zeros({100}, DType::i64);
  t.mutable_data<std::int64_t>()[70] = 9;
  EXPECT_EQ(message_of<IndexError>([&] { linear_cross_entropy(x, w, on_gpu(t), {}, {.rows = 32}).item(); }),
            "linear_cross_entropy: class 9 at flat position 70 is outside [0,7)");
}

TEST_F(CudaLinearCrossEntropy, TakesAQuarterOfTheMemoryOfLogits) {
  constexpr std::int64_t n = 8192, in = 64, classes = 16000;
  const Tensor x = to(on_gpu(randn({n, in})), DType::bf16).set_requires_grad(),
               w = to(on_gpu(randn({classes, in})), DType::bf16).set_requires_grad(),
               t = on_gpu(randint(0, classes, {n}));
  const auto peak = [&](bool composed) {
    const std::int64_t before = allocator(gpu).stats().bytes_live;
    allocator(gpu).reset_peak();
    grad(composed ? cross_entropy(linear(x, w), t) : linear_cross_entropy(x, w, t), {x, w});
    return allocator(gpu).stats().bytes_peak - before;
  };
  EXPECT_LE(peak(false), peak(true) / 4);
}

}  // namespace
